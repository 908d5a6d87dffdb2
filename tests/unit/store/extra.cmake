target_include_directories(unit_store PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz)
target_compile_definitions(unit_store PRIVATE CRS_FUZZ_SEEDS="${PROJECT_SOURCE_DIR}/tests/fuzz/seeds")
