# Rendered conversations against FastChat's and transformers' renderings.
add_executable(chat_for_parity ${CMAKE_CURRENT_LIST_DIR}/chat_main.cpp)
target_link_libraries(chat_for_parity PRIVATE mose::text mose_flags)
mose_script_test(parity.chat_templates COMMAND ${MOSE_PYTHON} ${CMAKE_CURRENT_LIST_DIR}/chat_templates.py)
