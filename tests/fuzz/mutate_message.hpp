#pragma once

#include <google/protobuf/message.h>

#include <random>

namespace enmesh::testing {

/// Changes one thing somewhere in a message: a number, a name (mostly to one that the message holds
/// elsewhere, so that edges of a graph are rewired), the order or count of repeated fields.
void mutate_message(google::protobuf::Message& message, std::minstd_rand& random);

}  // namespace enmesh::testing
