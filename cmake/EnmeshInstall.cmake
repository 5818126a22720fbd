# What `cmake --install` puts where, and what find_package(enmesh) finds: enmesh::enmesh and enmesh::products.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/enmesh)
set_target_properties(enmesh_products PROPERTIES EXPORT_NAME products)
install(TARGETS enmesh enmesh_products EXPORT enmeshTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS enmesh_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/enmesh DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp"
  PATTERN "bench" EXCLUDE)  # part of the program, not of the library
install(EXPORT enmeshTargets NAMESPACE enmesh:: DESTINATION ${package_dir})
configure_package_config_file(cmake/enmeshConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/enmeshConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/enmeshConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/enmeshConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/enmeshConfigVersion.cmake
  DESTINATION ${package_dir})
