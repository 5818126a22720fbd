#include "reference/run.hpp"

namespace enmesh::reference {

template <>
void run(const Reshape&, const Frame& frame) {
    frame.out().data = frame.in(0).data;
}

}  // namespace enmesh::reference
