# The SystemVerilog of rtl/ as C++ classes, where Verilator is found (verilator_FOUND).
find_package(verilator QUIET)

file(STRINGS ${PROJECT_SOURCE_DIR}/rtl/sat.f rtl_list)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/rtl/sat.f)
list(TRANSFORM rtl_list PREPEND ${PROJECT_SOURCE_DIR}/)

# rtl_model(LIBRARY PREFIX TOP [BENCH file.sv...] [PARAMETERS Name=value...] [MUTATE file OLD NEW]): one Verilated module as
# C++ class PREFIX, in a library of its own, for generated code does not compile without warnings. MUTATE: in a copy of one
# file OLD becomes NEW, to see that the tests see it.
function(rtl_model library prefix top)
  cmake_parse_arguments(arg "" "" "BENCH;PARAMETERS;MUTATE" ${ARGN})
  if(NOT TARGET ${library})
    add_library(${library} STATIC)
  endif()
  list(TRANSFORM arg_PARAMETERS PREPEND -G)
  set(warnings -Wall)
  list(TRANSFORM arg_BENCH PREPEND ${PROJECT_SOURCE_DIR}/rtl/bench/)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/${prefix}.dir)
  set(sources ${rtl_list})
  if(arg_MUTATE)
    set(warnings -Wno-lint)
    list(POP_FRONT arg_MUTATE file old new)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/rtl/${file})
    file(READ ${PROJECT_SOURCE_DIR}/rtl/${file} text)
    string(REPLACE "${old}" "${new}" mutant "${text}")
    if(mutant STREQUAL text)
      message(FATAL_ERROR "rtl/${file} does not hold '${old}', which ${prefix} mutates")
    endif()
    get_filename_component(name ${file} NAME)
    set(copy ${CMAKE_CURRENT_BINARY_DIR}/${prefix}.mutant/${name})
    file(CONFIGURE OUTPUT ${copy} CONTENT "${mutant}" @ONLY)
    list(TRANSFORM sources REPLACE "^.*/rtl/${file}$" ${copy})
  endif()
  verilate(${library} PREFIX ${prefix} TOP_MODULE ${top} DIRECTORY ${folder} OPT_FAST -O1
    SOURCES ${PROJECT_SOURCE_DIR}/rtl/lint.vlt ${sources} ${arg_BENCH}
    VERILATOR_ARGS ${warnings} --assert --x-assign unique --x-initial unique ${arg_PARAMETERS})
  target_include_directories(${library} SYSTEM INTERFACE ${folder} ${VERILATOR_ROOT}/include ${VERILATOR_ROOT}/include/vltstd)
endfunction()
