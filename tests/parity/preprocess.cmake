# Pixels against Pillow with transformers' image processors.
add_executable(preprocess_for_parity ${CMAKE_CURRENT_LIST_DIR}/preprocess_main.cpp)
target_link_libraries(preprocess_for_parity PRIVATE mose::vision mose_flags)
mose_script_test(parity.preprocess TIMEOUT 900 COMMAND ${MOSE_PYTHON} ${CMAKE_CURRENT_LIST_DIR}/preprocess.py)
