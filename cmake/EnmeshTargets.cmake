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

function(enmesh_library target)
  add_library(${target} STATIC)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target}
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${PROJECT_SOURCE_DIR}/src)
  enmesh_flags(${target})
endfunction()

# enmesh_test(NAME file.cpp... [LABELS core]): one GoogleTest program, every case known to ctest. FOUNDATION: it stands on
# enmesh_products alone, so that it builds without the rest.
function(enmesh_test name)
  cmake_parse_arguments(arg "FOUNDATION" "TIMEOUT" "LABELS;LIBS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
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
