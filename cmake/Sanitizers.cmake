# CRS_SANITIZE is a comma-separated list as -fsanitize takes it ("address,undefined" or "thread").
set(CRS_SANITIZE "" CACHE STRING "Sanitizers to build with")
if(CRS_SANITIZE)
  add_compile_options(-fsanitize=${CRS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CRS_SANITIZE})
endif()
