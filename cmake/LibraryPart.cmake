# crs_library_part(TARGET SOURCES...): a static library that is a part of crs and of libcrs as well, compiled once for both: it can stand in a
# shared object, and shows no names there but those that the headers of include/crs make visible. Such a part may need no protobuf, zstd
# or command-line library. What it uses of fmt, libcrs brings along (src/library/fmt.cc).
function(crs_library_part target)
  add_library(${target} STATIC ${ARGN})
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_compile_options(${target} PRIVATE -ffunction-sections -fdata-sections)
  target_link_libraries(${target} PRIVATE crs_warnings)
  crs_unite(${target})
endfunction()
