#pragma once

// Everything public, in the order in which the rooms depend on each other.

#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/pattern.hpp"
#include "enmesh/graph/graph.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/sparsity/recipe.hpp"
#include "enmesh/step/executor.hpp"
#include "enmesh/step/step.hpp"
#include "enmesh/tensor/tensor.hpp"
