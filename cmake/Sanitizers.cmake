# CRS_SANITIZE is a comma-separated list as -fsanitize takes it ("address,undefined" or "thread").
set(CRS_SANITIZE "" CACHE STRING "Sanitizers to build with")
# How many times as long as usual a test may take.
set(CRS_PATIENCE 1)
if(CRS_SANITIZE)
  set(CRS_PATIENCE 4)
  add_compile_options(-fsanitize=${CRS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CRS_SANITIZE})
endif()
