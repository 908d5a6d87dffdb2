target_link_libraries(unit_self PRIVATE crs_self)
target_compile_definitions(unit_self PRIVATE SELF_DIRECTORY="$<TARGET_FILE_DIR:crs_self_component>")
add_dependencies(unit_self crs_self_component)
# The component looks for functions of the program by their names.
set_target_properties(unit_self PROPERTIES ENABLE_EXPORTS ON)
