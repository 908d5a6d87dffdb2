# Thousand random histories of memory instead of a few, by `ctest --preset release -C Long`.
add_test(NAME unit.pages.long CONFIGURATIONS Long
  COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/pages/many_histories.py $<TARGET_FILE:unit_pages>)
set_tests_properties(unit.pages.long PROPERTIES LABELS unit TIMEOUT 3600)
