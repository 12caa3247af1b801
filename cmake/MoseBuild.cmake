# Compiler flags and the three functions with which every target is made.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # A clone in another folder shares the cache (paths below the root count as relative ones), and so do files that use
  # the precompiled header, which ccache leaves alone unless it is told that the header's time stamps do not matter.
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE_PROGRAM})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${launcher})
endif()
find_program(MOLD_PROGRAM mold)

add_library(mose_flags INTERFACE)
target_compile_features(mose_flags INTERFACE cxx_std_20)
target_compile_options(mose_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wno-unused-parameter -Wno-missing-field-initializers -fdiagnostics-color=auto>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${MOSE_WERROR}>>:-Werror>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-unused-parameter>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${MOSE_WERROR}>>:-Werror=all-warnings>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(mose_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)  # what ccache asks for
  # GCC 12 reports false positives of these in its own library at -O2.
  target_compile_options(mose_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict
    -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds -Wno-dangling-pointer>)
endif()
if(MOLD_PROGRAM AND CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  target_link_options(mose_flags INTERFACE -fuse-ld=mold)
endif()
if(MOSE_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()

# mose_library(<folder> [SOURCES a.cpp ...] [PUBLIC targets ...] [PRIVATE targets ...])
# makes the target mose_<folder> (alias mose::<folder>) from src/<folder>/.
function(mose_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  set(target mose_${folder})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(mose::${folder} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${folder})
  target_include_directories(${target}
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${target} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE} $<BUILD_INTERFACE:mose_flags>)
  if(folder IN_LIST MOSE_LIBTORCH_FOLDERS)
    target_link_libraries(${target} PUBLIC LibTorch::LibTorch)
    target_precompile_headers(${target} REUSE_FROM mose_torch_pch)
  endif()
endfunction()

# mose_test(<folder> [KERNELS | GPU] SOURCES a_test.cpp ... [LINK targets ...]) makes test_<folder>, a CTest entry.
# With KERNELS it is test_<folder>_kernels: CUDA kernels that the CPU runs (tests/support/cuda_on_cpu.h), without mose_<folder>,
# which has those of the GPU under the same names. With GPU it is test_<folder>_gpu: tests that a GPU alone can run, without whatever
# else the folder's tests link, for scripts/bench/gpu.sh.
function(mose_test folder)
  cmake_parse_arguments(ARG "KERNELS;GPU" "" "SOURCES;LINK" ${ARGN})
  set(name ${folder})
  set(library mose::${folder})
  if(ARG_KERNELS)
    set(name ${folder}_kernels)
    set(library mose::core LibTorch::LibTorch)
  elseif(ARG_GPU)
    set(name ${folder}_gpu)
  endif()
  set(target test_${name})
  add_executable(${target} ${ARG_SOURCES})
  if(ARG_KERNELS)
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  endif()
  target_link_libraries(${target} PRIVATE ${library} ${ARG_LINK} GTest::gtest GTest::gmock GTest::gtest_main mose_flags)
  target_link_options(${target} PRIVATE -Wl,--as-needed)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  if(folder IN_LIST MOSE_LIBTORCH_FOLDERS)
    target_precompile_headers(${target} REUSE_FROM mose_torch_pch)
    # The shared header is compiled with -fPIC, which a program's -fPIE would not match.
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIC)
  endif()
  add_test(NAME unit.${name} COMMAND ${target} --gtest_brief=1)
  set_tests_properties(unit.${name} PROPERTIES TIMEOUT 600)
endfunction()

# mose_script_test(<name> [TIMEOUT seconds] COMMAND ...) makes a CTest entry of a script; MOSE_PYTHON is the
# project's Python. The script finds the programs in $MOSE_BIN.
find_program(MOSE_PYTHON NAMES python3 PATHS ${PROJECT_SOURCE_DIR}/.venv/bin NO_DEFAULT_PATH)
find_program(MOSE_PYTHON NAMES python3 REQUIRED)
function(mose_script_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "COMMAND" ${ARGN})
  add_test(NAME ${name} COMMAND ${ARG_COMMAND})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} ENVIRONMENT
    "MOSE_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};MOSE_SOURCE_DIR=${PROJECT_SOURCE_DIR};MOSE_BINARY_DIR=${PROJECT_BINARY_DIR}")
endfunction()

# mose_program(<name> SOURCES a.cpp ... LINK targets ...) makes bin/<name>; the target `programs` makes them all.
add_custom_target(programs)
function(mose_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} mose_flags)
  add_dependencies(programs ${name})
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()
