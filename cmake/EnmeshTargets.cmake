# What every target of ours shares: warnings, sanitizers, include paths.
function(enmesh_flags target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
    -Wno-missing-field-initializers)  # designated initializers name what differs from the defaults
  if(ENMESH_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(ENMESH_SANITIZE)
    # These four double the time to compile; the address sanitizer sees what null would.
    target_compile_options(${target} PRIVATE -fsanitize=${ENMESH_SANITIZE} -fno-omit-frame-pointer
      $<$<NOT:$<STREQUAL:${target},enmesh_products>>:-fno-sanitize=null,vptr,object-size,alignment>)
    target_link_options(${target} PUBLIC -fsanitize=${ENMESH_SANITIZE})
  endif()
endfunction()

# enmesh_together(TARGET SIZE file.cpp...): adds files that are small beside the headers that they include, and compiles
# SIZE of them as one. Their anonymous namespaces must not collide.
function(enmesh_together target size)
  target_sources(${target} PRIVATE ${ARGN})
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  string(MAKE_C_IDENTIFIER ${folder} folder)
  set(index 0)
  foreach(file IN LISTS ARGN)
    math(EXPR group "${index} / ${size}")
    math(EXPR index "${index} + 1")
    set_property(SOURCE ${CMAKE_CURRENT_SOURCE_DIR}/${file} TARGET_DIRECTORY ${target} PROPERTY UNITY_GROUP ${folder}_${group})
  endforeach()
endfunction()

# Adds every file of the room's folder ops/, one file an operation, so that a new one needs no line here. A build looks for
# new files by itself.
function(enmesh_operations target)
  file(GLOB files RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS ops/*.cpp)
  enmesh_together(${target} 14 ${files})
endfunction()

function(enmesh_library target)
  add_library(${target} STATIC)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target}
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${PROJECT_SOURCE_DIR}/src)
  enmesh_flags(${target})
endfunction()

# What no test may see of its user: the cache of measured kernels. Built once, part of every test program.
function(enmesh_test_support)
  add_library(enmesh_test_support OBJECT ${PROJECT_SOURCE_DIR}/tests/support/own_cache.cpp)
  target_compile_features(enmesh_test_support PRIVATE cxx_std_20)
  enmesh_flags(enmesh_test_support)

  # The headers that most tests begin with, compiled once for all of them: a third of the time to compile a test. A
  # program, because only programs are compiled with the same flags as a test.
  add_executable(enmesh_test_headers ${PROJECT_SOURCE_DIR}/tests/support/headers.cpp)
  target_link_libraries(enmesh_test_headers PRIVATE enmesh_products GTest::gtest)
  enmesh_flags(enmesh_test_headers)
  target_precompile_headers(enmesh_test_headers PRIVATE <gtest/gtest.h> <fmt/format.h> <algorithm> <filesystem> <functional>
    <map> <string> <vector>)
endfunction()

# enmesh_test(NAME file.cpp... [LABELS core]): one GoogleTest program, every case known to ctest. FOUNDATION: it stands on
# enmesh_products alone, so that it builds without the rest.
function(enmesh_test name)
  cmake_parse_arguments(arg "FOUNDATION" "TIMEOUT" "LABELS;LIBS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS} $<TARGET_OBJECTS:enmesh_test_support>)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  set(library enmesh)
  if(arg_FOUNDATION)
    set(library enmesh_products)
    list(APPEND arg_LABELS foundation)
    add_dependencies(foundation_tests ${name})
  endif()
  target_link_libraries(${name} PRIVATE ${library} GTest::gtest_main ${arg_LIBS})
  target_compile_definitions(${name} PRIVATE ENMESH_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    ENMESH_PROGRAM="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/enmesh")
  enmesh_flags(${name})
  target_precompile_headers(${name} REUSE_FROM enmesh_test_headers)
  if("core" IN_LIST arg_LABELS OR "kernels" IN_LIST arg_LABELS)
    add_dependencies(core_tests ${name})
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  # gtest_discover_tests takes one label; ctest -L finds it by any of its parts.
  list(JOIN arg_LABELS "-" label)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${label}")
endfunction()
