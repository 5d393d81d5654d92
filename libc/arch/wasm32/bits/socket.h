/* time_t has 64 bits, so the first numbers mean the same as the new ones. */
#define SO_RCVTIMEO 20
#define SO_SNDTIMEO 21
