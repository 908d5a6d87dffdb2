// No code: the target that it belongs to exists for its precompiled headers.
