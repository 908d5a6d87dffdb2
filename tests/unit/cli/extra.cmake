target_link_libraries(unit_cli PRIVATE crs_cli)
