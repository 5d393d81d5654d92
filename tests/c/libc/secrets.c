/* crypt. */
#include "say.h"

#include <crypt.h>

int main(void) {
    TEXT(crypt("secret", "$1$salt$"));
    TEXT(crypt("secret", "$5$saltstring$"));
    TEXT(crypt("secret", "$6$saltstring$"));
    TEXT(crypt("secret", "ab"));
    struct crypt_data data = {0};
    TEXT(crypt_r("other", "$6$saltstring$", &data));
    return 0;
}
