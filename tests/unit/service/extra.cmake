# The service and the tests of it that make all threads and no other process, once more with a thread sanitizer (in a build that has
# another one, or none needed, it is the plain test alone).
if(NOT CRS_SANITIZE)
  file(GLOB service_sources ${PROJECT_SOURCE_DIR}/src/service/*.cc)
  list(FILTER service_sources EXCLUDE REGEX "/(asker|helper|native_in_program|requests|signal_trigger|taker_place)\\.cc$")
  add_executable(unit_service_threads ${service_sources} ${PROJECT_SOURCE_DIR}/src/base/error.cc ${PROJECT_SOURCE_DIR}/src/base/io.cc
    ${PROJECT_SOURCE_DIR}/src/base/thrown.cc ${PROJECT_SOURCE_DIR}/src/framework/state.cc service/traffic_test.cc service/world.cc)
  target_include_directories(unit_service_threads PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_options(unit_service_threads PRIVATE -fsanitize=thread -O1 -g1)
  target_link_options(unit_service_threads PRIVATE -fsanitize=thread)
  target_link_libraries(unit_service_threads PRIVATE fmt::fmt GTest::gtest_main Threads::Threads crs_warnings)
  # The sanitizer's memory layout knows less randomness than newer kernels have.
  add_test(NAME unit.service_threads COMMAND setarch --addr-no-randomize $<TARGET_FILE:unit_service_threads> --gtest_brief=1)
  set_tests_properties(unit.service_threads PROPERTIES LABELS unit TIMEOUT 240)
endif()
