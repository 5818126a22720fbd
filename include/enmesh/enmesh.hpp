#pragma once

// Everything public, in the order in which the rooms depend on each other.

#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/pattern.hpp"
#include "enmesh/data/augment.hpp"
#include "enmesh/data/dataset.hpp"
#include "enmesh/data/fetch.hpp"
#include "enmesh/data/loader.hpp"
#include "enmesh/graph/graph.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/report/event_file.hpp"
#include "enmesh/report/metrics_file.hpp"
#include "enmesh/report/progress_bar.hpp"
#include "enmesh/sparsity/recipe.hpp"
#include "enmesh/step/executor.hpp"
#include "enmesh/step/step.hpp"
#include "enmesh/tensor/tensor.hpp"
