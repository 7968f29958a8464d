# Thin recipes over `cargo xtask`, which says more: `cargo xtask help`.

# Arguments such as `fib.wat:fib(30)` reach the command as they are.
set positional-arguments

# List the recipes.
default:
    @just --list

# Lay out the patched Wasmtime in vendor/wasmtime.
vendor *args:
    cargo xtask vendor "$@"

# Save, check, list or build the patches.
patches *args:
    cargo xtask patches "$@"

# Run guests that never yield side by side in one Store.
demo *args:
    cargo xtask demo "$@"

# Run the `preempt` command.
run *args:
    cargo xtask run "$@"

# Run all tests.
test *args:
    cargo xtask test "$@"

# Run the WebAssembly specification's tests as guest threads.
conformance *args:
    cargo xtask conformance "$@"

# Run the fuzz targets.
fuzz *args:
    cargo xtask fuzz "$@"

# Measure the paper's workloads beside stock Wasmtime.
paper *args:
    cargo xtask paper "$@"

# Run the benchmarks.
bench *args:
    cargo xtask bench "$@"

# Check formatting, lints and feature sets.
lint:
    cargo xtask lint
