#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/data/fetch.hpp"

namespace enmesh::data {

std::span<const Remote> remotes() {
    static const std::vector<Remote> list = {
        {"cifar10",
         "https://www.cs.toronto.edu/~kriz",
         {{"cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"}},
         true},
        // The page of its authors no longer serves the files; this mirror has the same bytes.
        {"mnist",
         "https://ossci-datasets.s3.amazonaws.com/mnist",
         {{"train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"},
          {"train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"},
          {"t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"},
          {"t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"}}},
        {"fashion-mnist",
         "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
         {{"train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"},
          {"train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"},
          {"t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"},
          {"t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"}}},
    };
    return list;
}

const Remote& remote(std::string_view kind) {
    std::vector<std::string> names;
    for (const Remote& candidate : remotes()) {
        if (candidate.kind == kind) return candidate;
        names.push_back(candidate.kind);
    }
    refuse("no data set '{}' to fetch{}", kind, suggestion(kind, names));
}

}  // namespace enmesh::data
