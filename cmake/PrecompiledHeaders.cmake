# crs_precompile(TARGET HEADERS...): reads these headers of others once for all files of TARGET. Every file still includes what it uses:
# the debug preset, which compiles without, sees to that.
option(CRS_PRECOMPILED_HEADERS "Precompile the headers of other libraries" ${crs_shortens_builds})

function(crs_precompile target)
  if(CRS_PRECOMPILED_HEADERS)
    list(TRANSFORM ARGN REPLACE "(.+)" "<\\1>" OUTPUT_VARIABLE headers)
    target_precompile_headers(${target} PRIVATE ${headers})
  endif()
endfunction()

# The same for TARGET with those of another target that is compiled with the same options.
function(crs_reuse_precompiled target other)
  if(CRS_PRECOMPILED_HEADERS)
    target_precompile_headers(${target} REUSE_FROM ${other})
  endif()
endfunction()

# What nearly every file includes, itself or through others.
set(crs_common_headers
  algorithm array chrono filesystem functional map memory optional set span sstream string string_view utility vector fmt/format.h)
# What generated code of Protocol Buffers includes.
set(crs_protobuf_headers
  google/protobuf/arena.h google/protobuf/extension_set.h google/protobuf/generated_message_util.h google/protobuf/io/coded_stream.h
  google/protobuf/message_lite.h google/protobuf/repeated_field.h)
