#include "enmesh/cpu/plan_file.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cpu/onednn.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/fnv.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/products/product.hpp"

namespace enmesh::cpu {
namespace {

constexpr const char* format = "enmesh kernel plans 1";

/// Refuses a key that is none of `known`.
void require_known(const nlohmann::json& json, const std::vector<std::string>& known,
                   const std::string& file) {
    for (const auto& [key, value] : json.items())
        if (std::find(known.begin(), known.end(), key) == known.end())
            refuse("{}: unknown key '{}'{}", file, key, suggestion(key, known));
}

PlanFile::Step parse_step(const nlohmann::json& json, const std::string& file) {
    require_known(json, {"step", "layout", "kernels"}, file);
    const nlohmann::json plan = {{"layout", json.at("layout")}, {"kernels", json.at("kernels")}};
    return {json.at("step").get<std::string>(), parse_kernel_plan(plan.dump())};
}

}  // namespace

std::string step_key(const TrainingStep& step, DType dtype) {
    uint64_t hash = fnv1a("");
    for (const Node& node : step.graph.nodes()) {
        hash = fnv1a(is_product(node.operation) ? to_string(node.operation) : name(node.operation), hash);
        for (const ValueId input : node.inputs)
            hash = fnv1a(fmt::format(" {} {}", input.index, to_string(step.graph.type(input))), hash);
    }
    return fmt::format("a step of {} operations, {}, {:016x}", step.graph.nodes().size(), to_string(dtype),
                       hash);
}

std::string plan_hash(const KernelPlan& plan) { return fmt::format("{:016x}", fnv1a(to_text(plan))); }

PlanFile plan_file_here() {
    return {.isa = to_string(isa()),
            .machine = fmt::format("{}, {} threads, {}{}", cpu_description(), threads(), onednn_version(),
                                   products::winograd_allowed() ? "" : ", without Winograd"),
            .steps = {}};
}

std::string to_text(const PlanFile& plans) {
    nlohmann::ordered_json json = {{"format", format},
                                   {"isa", plans.isa},
                                   {"machine", plans.machine},
                                   {"steps", nlohmann::ordered_json::array()}};
    for (const PlanFile::Step& step : plans.steps)
        json["steps"].push_back(
            {{"step", step.key}, {"layout", step.plan.layout}, {"kernels", step.plan.kernels}});
    return json.dump(2) + "\n";
}

PlanFile parse_plan_file(std::string_view text, const std::string& file) {
    try {
        const nlohmann::json json = nlohmann::json::parse(text);
        if (const auto said = json.at("format").get<std::string>(); said != format)
            refuse("{}: is no file of kernel plans: its format is '{}'", file, said);
        require_known(json, {"format", "isa", "machine", "steps"}, file);
        PlanFile plans{json.at("isa").get<std::string>(), json.at("machine").get<std::string>(), {}};
        for (const nlohmann::json& step : json.at("steps")) plans.steps.push_back(parse_step(step, file));
        return plans;
    } catch (const Error& error) {
        const std::string message = error.what();
        refuse("{}", message.starts_with(file) ? message : file + ": " + message);
    } catch (const nlohmann::json::parse_error& error) {
        refuse("{}: is no file of kernel plans: no JSON at byte {}", file, error.byte);
    } catch (const nlohmann::json::exception&) {
        refuse("{}: is no file of kernel plans (--plan-out writes one)", file);
    }
}

KernelPlan plan_for(const PlanFile& plans, const TrainingStep& step, DType dtype, const std::string& file) {
    if (plans.isa != to_string(isa()))
        refuse("{}: its plans were made for {}, this run uses {}: its kernels would give other bits", file,
               plans.isa, to_string(isa()));
    const std::string key = step_key(step, dtype);
    const auto found = std::find_if(plans.steps.begin(), plans.steps.end(),
                                    [&](const PlanFile::Step& one) { return one.key == key; });
    if (found == plans.steps.end())
        refuse("{}: holds no plan for this network, method, batch and dtype ({})", file, key);
    return found->plan;
}

void require_used(const KernelPlan& asked, const KernelPlan& used, const std::string& file) {
    if (asked.layout != used.layout)
        refuse("{}: the layout {} is not available here, {} is", file, asked.layout, used.layout);
    for (const auto& [product, kernel] : asked.kernels) {
        const auto found = used.kernels.find(product);
        if (found == used.kernels.end())
            refuse("{}: names the product '{}', which this step has not", file, product);
        if (found->second != kernel)
            refuse("{}: the kernel '{}' of {} is not available here, '{}' is", file, kernel, product,
                   found->second);
    }
    for (const auto& [product, kernel] : used.kernels)
        if (!asked.kernels.contains(product))
            refuse("{}: names no kernel for the product '{}'", file, product);
}

std::string other_machine(const PlanFile& plans, const std::string& file) {
    const std::string here = plan_file_here().machine;
    if (plans.machine == here) return "";
    return fmt::format("{}: made on {}; this is {}: the bits may be others", file, plans.machine, here);
}

}  // namespace enmesh::cpu
