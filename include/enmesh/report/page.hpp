#pragma once

#include <string>

namespace enmesh::report {

/// One HTML file of runs, simulations and explorations. `document` is JSON: {"runs": [{"name", "kind", …}]},
/// where kind is "train" ("summary", "epochs"), "simulate" ("report") or "explore" ("subject", "points"). The
/// page embeds it, and every number of the page comes from it. The page needs no network. Refuses what is not
/// such a document.
std::string html_page(const std::string& document);

}  // namespace enmesh::report
