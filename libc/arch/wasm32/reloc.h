/* There is no dynamic linker; src/internal/dynlink.h wants the name. */
#define LDSO_ARCH "wasm32"
