target_include_directories(unit_wire PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz)
target_compile_definitions(unit_wire PRIVATE CRS_FUZZ_SEEDS="${PROJECT_SOURCE_DIR}/tests/fuzz/seeds")
target_link_libraries(unit_wire PRIVATE crs_wire)
