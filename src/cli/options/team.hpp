#pragma once

namespace enmesh::cli {

/// Takes the threads that a command asks for (0: as many as the process may use), and makes sure that they
/// and `more` others can be started: OpenMP ends the program where one cannot. Says on standard error where
/// the system gives fewer than the machine has processors, or fewer than asked for.
void use_threads(int requested, int more = 0);

}  // namespace enmesh::cli
