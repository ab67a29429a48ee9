/* A real 32-bit program without any library: writer32 write|vector|sendfile|mixed FILE.
 * C, because a 32-bit Rust target would be one more thing to install; `gcc -m32 -nostdlib` needs nothing. */

struct segment { const char *start; unsigned length; };

static int call(int number, int a, int b, int c, int d)
{
	int result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return result;
}

enum { EXIT = 1, READ = 3, WRITE = 4, OPEN = 5, WRITEV = 146, SENDFILE = 187 };

static char buffer[5000];

static void leave(int status)
{
	call(EXIT, status, 0, 0, 0);
	for (;;)
		;
}

static int filled(int file)
{
	int count = call(READ, file, (int)buffer, sizeof buffer, 0);
	if (count < 0)
		leave(3);
	return count;
}

static int by_write(int file)
{
	int count = filled(file);
	for (int at = 0; at < count;) {
		int done = call(WRITE, 1, (int)(buffer + at), count - at, 0);
		if (done <= 0)
			leave(4);
		at += done;
	}
	return count;
}

static int by_vector(int file)
{
	int count = filled(file), part = count / 3;
	struct segment segments[4] = {
		{ buffer, part }, { 0, 0 }, { buffer + part, part }, { buffer + 2 * part, count - 2 * part },
	};
	/* A blocking pipe takes it whole. */
	if (count && call(WRITEV, 1, (int)segments, 4, 0) != count)
		leave(5);
	return count;
}

static int by_sendfile(int file)
{
	int count = call(SENDFILE, 1, file, 0, 7000);
	if (count < 0)
		leave(6);
	return count;
}

__attribute__((used)) static void run(char **words)
{
	int (*const ways[3])(int) = { by_write, by_vector, by_sendfile };
	int file = call(OPEN, (int)words[2], 0, 0, 0);
	if (file < 0)
		leave(2);
	for (int turn = 0, count = 1; count; turn++) {
		char way = words[1][0];
		count = ways[way == 'w' ? 0 : way == 'v' ? 1 : way == 's' ? 2 : turn % 3](file);
	}
	leave(0);
}

/* The stack pointer at entry points to argc, then argv. */
__asm__(".globl _start\n_start:\n\tlea 4(%esp), %eax\n\tpush %eax\n\tcall run\n");
