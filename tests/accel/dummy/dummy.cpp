#include <cmath>

#include "enmesh/accel/common/accelerator.hpp"

// A machine that exists for the tests alone: all that adding one takes is this file.
namespace enmesh::accel {
namespace {

/// `width` multiply-adds a cycle, and `queue_cycles` before each product that do nothing.
class Dummy : public Accelerator {
  public:
    std::string name() const override { return "dummy"; }
    std::unique_ptr<Accelerator> clone() const override { return std::make_unique<Dummy>(*this); }
    std::vector<Parameter> parameters() override {
        return {{"dummy.width", "", "multiply-adds a cycle", "ours: 64", &width_, 1, 4096, {}},
                {"dummy.queue_cycles", "cycles", "wait of every product", "ours: 5", &queue_, 0, 100, {}}};
    }
    int64_t elements() const override { return width_; }
    double clock_hz() const override { return 1e8; }
    Abilities abilities() const override {
        return {.otherwise = "the dummy runs dense", .vector_work = false};
    }
    std::string lacks(Facility /*facility*/) const override { return "it is a dummy"; }
    Report cost(const Workload& workload, const Schedule& /*schedule*/) const override {
        Report report = report_of(workload, name(), elements(), clock_hz());
        report.tracks = {"queue", "line"};
        for (const Product& product : workload.products) {
            ProductResult result{.product = product, .dataflow = "line"};
            result.product.sparse = Operand::none;
            result.multiply_adds = dense_multiply_adds(product);
            const double ideal = static_cast<double>(result.multiply_adds) / width_;
            result.cycles = static_cast<int64_t>(std::ceil(ideal)) + queue_;
            result.utilization = ideal / static_cast<double>(result.cycles);
            result.stalls = {{{"queueing", "queue"}, static_cast<double>(result.cycles) - ideal}};
            result.figures = {{.name = "queued", .value = int64_t{queue_}, .cycles = true, .column = true}};
            result.busy = {{1, static_cast<double>(result.cycles), {}},
                           {0, static_cast<double>(queue_), {{"waits", int64_t{queue_}}}}};
            report.products.push_back(std::move(result));
        }
        take_turns(report, workload);
        return report;
    }

  private:
    int width_ = 64, queue_ = 5;
};

const bool registered = [] {
    register_accelerator({"dummy", "for tests", [] { return std::make_unique<Dummy>(); }});
    return true;
}();

}  // namespace
}  // namespace enmesh::accel
