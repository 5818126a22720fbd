#include "enmesh/accel/common/dataflow.hpp"

namespace enmesh::accel {

std::string to_string(Dataflow dataflow) {
    switch (dataflow) {
        case Dataflow::ws:
            return "ws";
        case Dataflow::os:
            return "os";
        case Dataflow::is:
            return "is";
    }
    return "?";
}

}  // namespace enmesh::accel
