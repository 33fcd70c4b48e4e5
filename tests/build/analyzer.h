/* For clang-tidy only: the analyzer sees one file at a time and must be told that setting an error never returns 0. */
#include "store/core/err.h"

#define err_set(e, code, ...)                                                                      \
    ({                                                                                             \
        int code_ = (code);                                                                        \
        (void)err_set(e, code_, __VA_ARGS__);                                                      \
        code_;                                                                                     \
    })
#define err_wrap(e, ...) ((void)err_wrap(e, __VA_ARGS__), ERR_FAILED)
