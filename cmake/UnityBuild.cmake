# crs_unite(TARGET): compiles the files of each folder of TARGET together, eight at a time, so that what they include is read once for all
# of them: a build takes half as long. Names in unnamed namespaces are therefore a folder's, not a file's. The debug preset compiles each
# file alone.
option(CRS_UNITY_BUILD "Compile the files of a folder together" ${crs_shortens_builds})

function(crs_unite target)
  if(NOT CRS_UNITY_BUILD)
    return()
  endif()
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "\\.cc$")
  foreach(source ${sources})
    cmake_path(GET source PARENT_PATH folder)
    cmake_path(RELATIVE_PATH folder BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    string(MAKE_C_IDENTIFIER "${folder}" room)
    if(NOT DEFINED files_${room})
      set(files_${room} 0)
    endif()
    math(EXPR batch "${files_${room}} / 8")
    math(EXPR files_${room} "${files_${room}} + 1")
    set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${room}_${batch})
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  # Files that are compiled together look like headers, where this warns of what is right in a file.
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>)
endfunction()
