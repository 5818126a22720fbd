#include "fuzz/mutate_message.hpp"

#include <array>
#include <climits>
#include <cstdint>
#include <string>
#include <vector>

namespace enmesh::testing {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

/// A field that is set in some message of the tree.
struct Place {
    Message* message;
    const FieldDescriptor* field;
};

void collect(Message& message, std::vector<Place>& places, std::vector<std::string>& names) {
    const Reflection& reflection = *message.GetReflection();
    std::vector<const FieldDescriptor*> fields;
    reflection.ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
        places.push_back({&message, field});
        const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
        for (int i = 0; i < count; ++i) {
            if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
                collect(field->is_repeated() ? *reflection.MutableRepeatedMessage(&message, field, i)
                                             : *reflection.MutableMessage(&message, field),
                        places, names);
            } else if (field->type() == FieldDescriptor::TYPE_STRING) {
                names.push_back(field->is_repeated() ? reflection.GetRepeatedString(message, field, i)
                                                     : reflection.GetString(message, field));
            }
        }
    }
}

class Mutation {
  public:
    Mutation(std::minstd_rand& random, const std::vector<std::string>& names)
        : random_(random), names_(names) {}

    void apply(const Place& place) {
        const Reflection& reflection = *place.message->GetReflection();
        if (!place.field->is_repeated()) return change(place, -1);
        const int count = reflection.FieldSize(*place.message, place.field);
        const int at = below(count);
        switch (below(4)) {
            case 0:
                return reflection.SwapElements(place.message, place.field, at, below(count));
            case 1:
                return drop(place, at);
            case 2:
                return repeat(place, at);
            default:
                return change(place, at);
        }
    }

  private:
    int below(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }

    void drop(const Place& place, int at) {
        const Reflection& reflection = *place.message->GetReflection();
        for (int i = at; i + 1 < reflection.FieldSize(*place.message, place.field); ++i)
            reflection.SwapElements(place.message, place.field, i, i + 1);
        reflection.RemoveLast(place.message, place.field);
    }

    void repeat(const Place& place, int at) {
        const Reflection& reflection = *place.message->GetReflection();
        Message& message = *place.message;
        switch (place.field->cpp_type()) {
            case FieldDescriptor::CPPTYPE_MESSAGE: {
                Message& copy = *reflection.AddMessage(&message, place.field);
                return copy.CopyFrom(reflection.GetRepeatedMessage(message, place.field, at));
            }
            case FieldDescriptor::CPPTYPE_INT64:
                return reflection.AddInt64(&message, place.field,
                                           reflection.GetRepeatedInt64(message, place.field, at));
            case FieldDescriptor::CPPTYPE_STRING:
                return reflection.AddString(&message, place.field,
                                            reflection.GetRepeatedString(message, place.field, at));
            default:
                return;
        }
    }

    int64_t number(int64_t before) {
        static constexpr std::array<int64_t, 14> telling = {
            0,         1,         -1,     2, 3, 16, 255, 65536, INT_MAX, INT_MIN, int64_t{1} << 32,
            INT64_MAX, INT64_MIN, 1 << 20};
        switch (below(4)) {
            case 0:
                return static_cast<int64_t>(static_cast<uint64_t>(before) + 1);
            case 1:
                return static_cast<int64_t>(static_cast<uint64_t>(before) - 1);
            case 2:
                return static_cast<int64_t>(0 - static_cast<uint64_t>(before));
            default:
                return telling[static_cast<size_t>(below(static_cast<int>(telling.size())))];
        }
    }

    std::string text(std::string before) {
        if (!names_.empty() && below(4) != 0)
            return names_[static_cast<size_t>(below(static_cast<int>(names_.size())))];
        if (before.empty()) return "x";
        before[static_cast<size_t>(below(static_cast<int>(before.size())))] = static_cast<char>(below(256));
        return before;
    }

    /// The value at `at` of a repeated field, or of a single one where `at` is -1.
    void change(const Place& place, int at) {
        const Reflection& reflection = *place.message->GetReflection();
        Message& message = *place.message;
        const FieldDescriptor* const field = place.field;
        switch (field->cpp_type()) {
            case FieldDescriptor::CPPTYPE_INT64:
                return at < 0
                           ? reflection.SetInt64(&message, field, number(reflection.GetInt64(message, field)))
                           : reflection.SetRepeatedInt64(
                                 &message, field, at,
                                 number(reflection.GetRepeatedInt64(message, field, at)));
            case FieldDescriptor::CPPTYPE_INT32:
                if (at < 0) reflection.SetInt32(&message, field, static_cast<int32_t>(number(0)));
                return;
            case FieldDescriptor::CPPTYPE_ENUM:
                if (at < 0) reflection.SetEnumValue(&message, field, below(22));
                return;
            case FieldDescriptor::CPPTYPE_STRING:
                return at < 0
                           ? reflection.SetString(&message, field, text(reflection.GetString(message, field)))
                           : reflection.SetRepeatedString(
                                 &message, field, at, text(reflection.GetRepeatedString(message, field, at)));
            case FieldDescriptor::CPPTYPE_MESSAGE:
                if (at < 0) reflection.ClearField(&message, field);
                return;
            default:
                return;
        }
    }

    std::minstd_rand& random_;
    const std::vector<std::string>& names_;
};

}  // namespace

void mutate_message(Message& message, std::minstd_rand& random) {
    std::vector<Place> places;
    std::vector<std::string> names;
    collect(message, places, names);
    if (places.empty()) return;
    Mutation(random, names).apply(places[random() % places.size()]);
}

}  // namespace enmesh::testing
