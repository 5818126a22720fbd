// A program for the headers that tests share (cmake/EnmeshTargets.cmake); it does nothing.
int main() {}
