# The project's own code compiles without a warning under these; generated and system headers are left out.
add_library(crs_warnings INTERFACE)
target_compile_options(crs_warnings INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor)
