# Imported targets straight from the PyPI wheel of torch, without its own CMake files, which demand a
# CUDA toolkit and rewrite architecture flags.
#
#   LibTorch::LibTorch   headers and libraries (torch_cuda and c10_cuda too where MOSE_CUDA is on)
#
# Looks in LIBTORCH_ROOT (a folder with include/ and lib/), else in the torch package of the Python of
# the project's .venv, else of python3 on the path.
if(NOT LIBTORCH_ROOT)
  foreach(python ${PROJECT_SOURCE_DIR}/.venv/bin/python python3)
    execute_process(COMMAND ${python} -c
      "import importlib.util as u, os; print(os.path.dirname(u.find_spec('torch').origin))"
      OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed AND EXISTS ${root}/lib)
      set(LIBTORCH_ROOT ${root} CACHE PATH "Folder of LibTorch's include/ and lib/")
      break()
    endif()
  endforeach()
endif()

find_path(LIBTORCH_INCLUDE_DIR torch/csrc/api/include/torch/torch.h
  PATHS ${LIBTORCH_ROOT}/include NO_DEFAULT_PATH)
set(libtorch_names torch_cpu c10)
if(MOSE_CUDA)
  list(APPEND libtorch_names torch torch_cuda c10_cuda)
endif()
set(libtorch_found_all TRUE)
foreach(name IN LISTS libtorch_names)
  find_library(LIBTORCH_${name}_LIBRARY ${name} PATHS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH)
  if(NOT LIBTORCH_${name}_LIBRARY)
    set(libtorch_found_all FALSE)
  endif()
endforeach()
if(LIBTORCH_INCLUDE_DIR AND EXISTS ${LIBTORCH_ROOT}/version.py)
  file(STRINGS ${LIBTORCH_ROOT}/version.py libtorch_version_line REGEX "^__version__")
  string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+[+a-z0-9]*" LibTorch_VERSION "${libtorch_version_line}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LIBTORCH_ROOT LIBTORCH_INCLUDE_DIR libtorch_found_all VERSION_VAR LibTorch_VERSION)

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  # The wheel carries fmt 12, which would shadow Debian's fmt 9 under Debian's spdlog.
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/fmt_first)
  if(EXISTS /usr/include/fmt AND NOT EXISTS ${CMAKE_BINARY_DIR}/fmt_first/fmt)
    file(CREATE_LINK /usr/include/fmt ${CMAKE_BINARY_DIR}/fmt_first/fmt SYMBOLIC)
  endif()
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/fmt_first
    ${LIBTORCH_INCLUDE_DIR} ${LIBTORCH_INCLUDE_DIR}/torch/csrc/api/include)
  target_compile_definitions(LibTorch::LibTorch INTERFACE USE_C10D_GLOO USE_DISTRIBUTED USE_RPC)
  foreach(name IN LISTS libtorch_names)
    if(name MATCHES "cuda|^torch$")
      # Loaded for their registrations, not for symbols: --as-needed must not drop them.
      target_link_libraries(LibTorch::LibTorch INTERFACE
        "-Wl,--push-state,--no-as-needed,${LIBTORCH_${name}_LIBRARY},--pop-state")
    else()
      target_link_libraries(LibTorch::LibTorch INTERFACE ${LIBTORCH_${name}_LIBRARY})
    endif()
  endforeach()
  target_link_options(LibTorch::LibTorch INTERFACE "-Wl,-rpath,${LIBTORCH_ROOT}/lib")
  # Without OpenMP switched on, at::parallel_for, a template of a header, runs all of its work in one thread and says nothing. Linked
  # is the wheel's own copy of the library where it has one, so that there is one pool of threads.
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  target_link_libraries(LibTorch::LibTorch INTERFACE Threads::Threads)
  if(EXISTS ${LIBTORCH_ROOT}/lib/libgomp.so.1)
    target_compile_options(LibTorch::LibTorch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${OpenMP_CXX_FLAGS}>)
    target_link_libraries(LibTorch::LibTorch INTERFACE ${LIBTORCH_ROOT}/lib/libgomp.so.1)
  else()
    target_link_libraries(LibTorch::LibTorch INTERFACE OpenMP::OpenMP_CXX)
  endif()
  if(MOSE_CUDA)
    # ATen's CUDA headers include the toolkit's; NCCL's header is in a wheel of its own.
    find_package(CUDAToolkit 13 REQUIRED)
    target_link_libraries(LibTorch::LibTorch INTERFACE CUDA::cudart)
    find_path(LIBTORCH_NCCL_INCLUDE_DIR nccl.h PATHS ${LIBTORCH_ROOT}/../nvidia/nccl/include)
    if(LIBTORCH_NCCL_INCLUDE_DIR)
      target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE ${LIBTORCH_NCCL_INCLUDE_DIR})
      target_compile_definitions(LibTorch::LibTorch INTERFACE USE_C10D_NCCL)
    endif()
  endif()
endif()
