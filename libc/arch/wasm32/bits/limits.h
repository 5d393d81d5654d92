/* Linear memory grows by 64 KiB, but mmap hands out and takes back pages of this size. */
#define PAGESIZE 4096
