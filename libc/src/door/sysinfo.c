/* sysinfo, from /proc. */
#include <sys/sysinfo.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include "syscall.h"

static void memory(struct sysinfo *info)
{
	static const struct { const char name[12]; unsigned char place; } rows[] = {
		{ "MemTotal:", 0 }, { "MemFree:", 1 }, { "Shmem:", 2 }, { "Buffers:", 3 },
		{ "SwapTotal:", 4 }, { "SwapFree:", 5 },
	};
	unsigned long *fields[] = { &info->totalram, &info->freeram, &info->sharedram, &info->bufferram,
	                            &info->totalswap, &info->freeswap };
	char name[64];
	unsigned long long size;
	FILE *file = fopen("/proc/meminfo", "re");
	if (!file) return;
	while (fscanf(file, "%63s %llu%*[^\n]", name, &size) == 2)
		for (int i = 0; i < 6; i++)
			if (!strcmp(name, rows[i].name)) *fields[rows[i].place] = size;
	fclose(file);
	info->mem_unit = 1024;
}

long __door_sysinfo(void *result)
{
	struct sysinfo *info = result;
	double number, loads[3];
	unsigned running, all;
	*info = (struct sysinfo){ .mem_unit = 1 };
	FILE *file = fopen("/proc/uptime", "re");
	if (!file) return -errno;
	if (fscanf(file, "%lf", &number) == 1) info->uptime = number;
	fclose(file);
	if ((file = fopen("/proc/loadavg", "re"))) {
		if (fscanf(file, "%lf %lf %lf %u/%u", loads, loads + 1, loads + 2, &running, &all) == 5) {
			for (int i = 0; i < 3; i++) info->loads[i] = loads[i] * 65536;
			info->procs = all;
		}
		fclose(file);
	}
	memory(info);
	return 0;
}
