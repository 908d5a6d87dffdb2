#!/usr/bin/env python3
"""libcrs, shared and static: what it needs, what it shows, and that programs are built with it from an installed tree."""

import argparse
import itertools
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

from harness import Workspace, check, is_left_out, run_cases

SOURCE = pathlib.Path(__file__).resolve().parents[2]
ALLOWED_LIBRARIES = {"linux-vdso", "ld-linux-x86-64", "libc", "libstdc++", "libgcc_s", "libm", "libdl", "libpthread"}
# The sanitizers' own, in such a build.
ALLOWED_LIBRARIES |= {"libasan", "libubsan", "libtsan"}


def run(workspace, *arguments, limit=120, **options):
    result = workspace.run(arguments, limit=limit, **options)
    check(result.status == 0, str(result))
    return result.stdout


def libraries_of(workspace, path):
    text = run(workspace, "ldd", path)
    check("not found" not in text, text)
    return {re.sub(r"\.so.*", "", pathlib.Path(line.split()[0]).name) for line in text.splitlines()}


def needs_little(workspace, options):
    needed = libraries_of(workspace, options.build / "lib/libcrs.so")
    check(needed and needed <= ALLOWED_LIBRARIES, f"libcrs needs {needed - ALLOWED_LIBRARIES}")


def shows_its_interface_only(workspace, options):
    text = run(workspace, "nm", "--dynamic", "--defined-only", "--demangle", options.build / "lib/libcrs.so")
    names = [line.split(maxsplit=2)[2] for line in text.splitlines()]
    check("typeinfo for crs::Error" in names, "crs::Error is not visible")
    foreign = [name for name in names if not re.match(r"((typeinfo|typeinfo name|vtable|guard variable) for )?crs::|crs_", name)]
    check(not foreign, f"visible without being the interface: {foreign[:10]}")
    # Of the framework's own classes, which are in no installed header.
    internal = [name for name in names if "crs::Parameters::" in name or "crs::Round::" in name]
    check(not internal, f"visible without being the interface: {internal[:10]}")


WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
COMPILERS = {
    "interface.c": [
        ["gcc", "-std=c99", "-D_GNU_SOURCE"],
        ["clang-19", "-std=c99", "-D_GNU_SOURCE"],
        ["g++", "-std=c++17", "-xc++"],
        ["clang++-19", "-std=c++17", "-xc++"],
    ],
    "interface.cc": [["g++", "-std=c++17"], ["clang++-19", "-std=c++17"], ["g++", "-std=c++23"]],
}


def compile_with_library(workspace, options, compiler, source, program, *more):
    """With the library of the build tree."""
    library = options.build / "lib"
    words = [*compiler, *WARNINGS, "-I", SOURCE / "include", SOURCE / "tests/library" / source, "-o", program]
    run(workspace, *words, f"-L{library}", f"-Wl,-rpath,{library}", "-lcrs", "-pthread", *more)


def headers_compile_everywhere(workspace, options):
    for source, compilers in COMPILERS.items():
        for number, compiler in enumerate(compilers):
            program = workspace.directory / f"{source}-{number}"
            compile_with_library(workspace, options, compiler, source, program)
            output = run(workspace, program)
            check(output == "sound\n", f"{source} by {compiler}: {output}")


def a_header_needs_no_other_first(workspace, options):
    """Each is complete in itself."""
    for header in sorted((SOURCE / "include/crs").iterdir()):
        for compiler in (["g++", "-std=c++17", "-xc++"], ["clang++-19", "-std=c++17", "-xc++"]) + (
            (["gcc", "-std=c99", "-xc"], ["clang-19", "-std=c99", "-xc"]) if header.suffix == ".h" else ()
        ):
            source = workspace.directory / "alone.txt"
            source.write_text(f"#include <crs/{header.name}>\n")
            run(workspace, *compiler, *WARNINGS, "-fsyntax-only", "-I", SOURCE / "include", source)


def an_unloaded_layer_is_no_crash(workspace, options):
    program = workspace.directory / "unloading"
    compile_with_library(workspace, options, ["gcc", "-std=c99", "-D_GNU_SOURCE"], "unloading.c", program)
    for source, compiler in (("unloaded_layer.c", ["gcc", "-std=c99"]), ("unloaded_layer.cc", ["g++", "-std=c++17"])):
        for tidy in (True, False):
            layer = workspace.directory / f"{source}-{tidy}.so"
            define = ["-DTIDY"] if tidy else ["-UTIDY"]
            # Without it, the object's own constants that other objects could share would keep it loaded.
            more = ["-fno-gnu-unique"] if source.endswith(".cc") else []
            compile_with_library(workspace, options, compiler, source, layer, "-shared", "-fPIC", *define, *more)
            lines = run(workspace, program, layer).splitlines()
            check(lines[-1] == "sound", f"{layer.name}: {lines}")
            expected = "" if tidy else f"{layer}, which holds the layer's code, was unloaded (layer 'unloaded' at checkpoint)"
            check((lines[0] if len(lines) > 1 else "").startswith(expected) and (len(lines) == 1) == tidy, f"{layer.name}: {lines}")


def a_component_hears_of_sections(workspace, options):
    program = workspace.directory / "sections"
    compile_with_library(workspace, options, ["gcc", "-std=c99"], "sections.c", program)
    environment = {**workspace.environment, "CRS_COMPONENT_PATH": str(options.build / "components/sections")}
    output = run(workspace, program, env=environment)
    check(output == "sound\n", f"it says {output!r}")


def install(workspace, options):
    prefix = workspace.directory / "prefix"
    run(workspace, "cmake", "--install", options.build, "--prefix", prefix, "--strip")
    return prefix


def works(workspace, program, libraries=ALLOWED_LIBRARIES):
    output = run(workspace, program)
    check(output == "sound\n", f"{program} says {output!r}")
    check(" T crs_self_user_continue" in run(workspace, "nm", "--dynamic", program), f"{program} does not export its function")
    needed = libraries_of(workspace, program)
    check(needed <= libraries, f"{program} needs {needed - libraries}")


def found_by_cmake(workspace, prefix):
    tree = workspace.directory / "by-cmake"
    source = SOURCE / "tests/library/consumer"
    run(workspace, "cmake", "-S", source, "-B", tree, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release")
    run(workspace, "cmake", "--build", tree)
    works(workspace, tree / "consumer_crs", ALLOWED_LIBRARIES | {"libcrs"})
    works(workspace, tree / "consumer_crs_static")


def found_by_pkg_config(workspace, prefix):
    pkgconfig = next(prefix.rglob("crs.pc")).parent
    environment = {**workspace.environment, "PKG_CONFIG_PATH": str(pkgconfig)}
    words = lambda *options: shlex.split(run(workspace, "pkg-config", *options, "crs", env=environment))
    source = SOURCE / "tests/library/consumer/consumer.cc"
    shared, static = workspace.directory / "shared", workspace.directory / "static"
    library = next(prefix.rglob("libcrs.so")).parent
    run(workspace, "g++", "-std=c++17", source, *words("--cflags", "--libs"), f"-Wl,-rpath,{library}", "-o", shared)
    works(workspace, shared, ALLOWED_LIBRARIES | {"libcrs"})
    run(workspace, "g++", "-std=c++17", source, "-static", *words("--cflags", "--libs", "--static"), "-o", static)
    check(run(workspace, static) == "sound\n", "the program without any shared object does not work")


STYLE_OF_2009 = """#include <crs/self_start.h>
int crs_self_user_checkpoint(char** command) { (void)command; return 0; }
int crs_self_user_continue(void) { return 0; }
int crs_self_user_restart(void) { return 0; }
int main(void) { return 0; }
"""


def is_linked_as_the_manual_says(workspace, prefix):
    """The words of libcrs(3), where nothing removes a quotation mark."""
    pkgconfig = next(prefix.rglob("crs.pc")).parent
    source, program = workspace.directory / "old.c", workspace.directory / "old"
    source.write_text(STYLE_OF_2009)
    environment = {**workspace.environment, "PKG_CONFIG_PATH": str(pkgconfig)}
    linkers = ["", "-fuse-ld=lld"] if shutil.which("ld.lld") else [""]
    for compiler, linker in itertools.product(("gcc", "clang-19"), linkers):
        for static in ("", "--static crs | sed s/-lcrs/-l:libcrs.a/"):
            words = f"$(pkg-config --cflags --libs {static or 'crs'})"
            line = f"{compiler} {linker} -std=c99 -D_DEFAULT_SOURCE {source} -o {program} {words}"
            run(workspace, "sh", "-c", line, env=environment)
            exported = run(workspace, "nm", "--dynamic", "--defined-only", program)
            missing = [name for name in ("checkpoint", "continue", "restart") if f" T crs_self_user_{name}\n" not in exported]
            check(not missing, f"{line}: not exported: {missing}")
            check(not static or "3crs5Error" in exported, f"{line}: crs::Error is not visible to components")
            program.unlink()


def from_an_installed_tree(workspace, options):
    prefix = install(workspace, options)
    is_linked_as_the_manual_says(workspace, prefix)
    found_by_cmake(workspace, prefix)
    found_by_pkg_config(workspace, prefix)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    options.build = options.build.resolve()
    cases = [needs_little, shows_its_interface_only, a_header_needs_no_other_first]
    # Such a library needs the sanitizer in whatever uses it.
    if not is_left_out(options.crs, "programs from outside the build tree with libcrs"):
        cases += [headers_compile_everywhere, an_unloaded_layer_is_no_crash, a_component_hears_of_sections, from_an_installed_tree]

    def test(case):
        with Workspace(options.crs, verbose=options.verbose) as workspace:
            case(workspace, options)

    run_cases([(case.__name__, lambda case=case: test(case)) for case in cases])


if __name__ == "__main__":
    sys.exit(main())
