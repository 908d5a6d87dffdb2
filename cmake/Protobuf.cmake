# What generated code is linked with. It is made for protobuf's smaller runtime, which knows nothing of the schemas while the program runs
# and takes no time for that at every start of crs; from the archive, so that the loader has no names of it to find. Tests that look at
# messages through their schema take the whole library instead (the property CRS_WHOLE_PROTOBUF of the program), which has the smaller in it.
set(crs_protobuf_lite protobuf::libprotobuf-lite)
cmake_path(GET Protobuf_LITE_LIBRARY PARENT_PATH protobuf_directory)
find_library(CRS_PROTOBUF_LITE_ARCHIVE libprotobuf-lite.a PATHS ${protobuf_directory} NO_DEFAULT_PATH)
# From version 22 (4.22) on, the archive needs others as well.
if(CRS_PROTOBUF_LITE_ARCHIVE AND Protobuf_VERSION VERSION_LESS 4)
  set(crs_protobuf_lite ${CRS_PROTOBUF_LITE_ARCHIVE})
endif()
add_library(crs_protobuf INTERFACE)
target_include_directories(crs_protobuf SYSTEM INTERFACE ${Protobuf_INCLUDE_DIRS})
target_link_libraries(crs_protobuf
  INTERFACE $<IF:$<BOOL:$<TARGET_PROPERTY:CRS_WHOLE_PROTOBUF>>,protobuf::libprotobuf,${crs_protobuf_lite}> Threads::Threads)

# crs_add_schema(TARGET FILES...): compiles .proto files that lie beside the code that uses them, with imports relative to src/.
function(crs_add_schema target)
  set(root ${PROJECT_SOURCE_DIR}/src)
  set(generated ${CMAKE_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${generated})
  set(outputs)
  foreach(schema ${ARGN})
    file(RELATIVE_PATH name ${root} ${schema})
    string(REGEX REPLACE "\\.proto$" "" stem ${name})
    add_custom_command(
      OUTPUT ${generated}/${stem}.pb.cc ${generated}/${stem}.pb.h
      COMMAND protobuf::protoc --proto_path=${root} --cpp_out=lite:${generated} ${schema}
      DEPENDS ${schema}
      VERBATIM)
    list(APPEND outputs ${generated}/${stem}.pb.cc ${generated}/${stem}.pb.h)
  endforeach()
  add_library(${target} STATIC ${outputs})
  add_custom_target(${target}_generated DEPENDS ${outputs})
  target_link_libraries(${target} PUBLIC crs_protobuf)
  set_property(GLOBAL APPEND PROPERTY CRS_SCHEMAS ${ARGN})
  list(LENGTH outputs count)
  if(count GREATER 8)
    crs_precompile(${target} ${crs_protobuf_headers})
  endif()
  target_include_directories(${target} SYSTEM PUBLIC ${generated})
endfunction()

# crs_describe_schemas(TARGET): gives the program TARGET all schemas, in the file CRS_SCHEMAS (a FileDescriptorSet), and the library to read
# messages by them.
function(crs_describe_schemas target)
  get_property(schemas GLOBAL PROPERTY CRS_SCHEMAS)
  set(described ${CMAKE_CURRENT_BINARY_DIR}/${target}.schemas)
  add_custom_command(
    OUTPUT ${described}
    COMMAND protobuf::protoc --proto_path=${PROJECT_SOURCE_DIR}/src --include_imports --descriptor_set_out=${described} ${schemas}
    DEPENDS ${schemas}
    VERBATIM)
  target_sources(${target} PRIVATE ${described})
  target_compile_definitions(${target} PRIVATE CRS_SCHEMAS="${described}")
  set_target_properties(${target} PROPERTIES CRS_WHOLE_PROTOBUF ON)
endfunction()
