# Ids and text against Hugging Face tokenizers, over generated strings. MOSE_TOKENIZER_STRINGS sets how
# many a family (100000 for the full comparison).
add_executable(tokenize_for_parity ${CMAKE_CURRENT_LIST_DIR}/tokenize_main.cpp)
target_link_libraries(tokenize_for_parity PRIVATE mose::text mose_flags)
find_program(MOSE_TEST_PYTHON python3 HINTS ${PROJECT_SOURCE_DIR}/.venv/bin NO_DEFAULT_PATH)
if(NOT MOSE_TEST_PYTHON)
  set(MOSE_TEST_PYTHON python3)
endif()
add_test(NAME parity.tokenizers COMMAND ${MOSE_TEST_PYTHON}
  ${CMAKE_CURRENT_LIST_DIR}/tokenizers_test.py $<TARGET_FILE:tokenize_for_parity>)
set_tests_properties(parity.tokenizers PROPERTIES TIMEOUT 900)
