#include <cstdio>
#include <enmesh/base/pattern.hpp>

int main() {
    const enmesh::Pattern pattern = enmesh::parse_pattern("2:8");
    std::printf("%s\n", enmesh::to_string(pattern).c_str());
    return pattern.density() == 0.25 ? 0 : 1;
}
