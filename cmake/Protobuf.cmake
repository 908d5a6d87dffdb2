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
      COMMAND protobuf::protoc --proto_path=${root} --cpp_out=${generated} ${schema}
      DEPENDS ${schema}
      VERBATIM)
    list(APPEND outputs ${generated}/${stem}.pb.cc ${generated}/${stem}.pb.h)
  endforeach()
  add_library(${target} STATIC ${outputs})
  add_custom_target(${target}_generated DEPENDS ${outputs})
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf)
  list(LENGTH outputs count)
  if(count GREATER 8)
    crs_precompile(${target} ${crs_protobuf_headers})
  endif()
  target_include_directories(${target} SYSTEM PUBLIC ${generated})
endfunction()
