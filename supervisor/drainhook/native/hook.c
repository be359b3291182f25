/* The hot path of superctl's hook in C: whether the worker drains, and the counting of requests.
 *
 * superctl_requests.py says what is counted, and does the same in Python where this file cannot be loaded. All of
 * its writers hold the interpreter's lock, and each interpreter has a page of its own: one row is enough, and +=
 * loses nothing. (Builds without that lock do not load a module of the stable ABI.)
 *
 * Nothing here is shared between interpreters: types, strings and counters belong to one. It needs nothing of the C
 * library but the clock, which the kernel answers without a system call, so that one binary serves glibc and musl.
 */

#include "abi.h"

#define FOR_EACH_NAME(X) \
	X(type) X(path) X(status) X(more_body) X(body) X(__self__) X(is_closing) X(send) X(throw) X(close) X(get) X(message)
#define AS_DROPPED(name) drop(n->name);
#define AS_FIELD(name) PyObject *name;
#define AS_STRING(name) if ((n->name = PyUnicode_InternFromString(#name)) == NULL) return -1;

/* From 3.9 on, an object can have a function that calls it with its arguments in an array: of the stable ABI since
 * 3.12. */
typedef PyObject *(*vectorcall)(PyObject *, PyObject *const *, size_t, PyObject *);
#define VECTORCALL_OFFSET ((size_t)1 << 63)
#define HAVE_VECTORCALL (1UL << 11)

/* The cells of a row, as in superctl_requests.py. */
enum { STARTED = 0, BROKEN = 6, ABORTED = 7, DURATIONS = 16, LONGEST = 399, CELLS = 512 };

/* What a module has: its types, and strings. */
typedef struct {
	FOR_EACH_NAME(AS_FIELD)
	PyObject *flag, *counter, *application, *request, *run;
} State;

/* Flag reports whether the worker drains. */
typedef struct {
	PyObject_HEAD
	PyObject *bytes; /* of the path */
	const char *path;
	uint64_t until;
	int value;
} Flag;

typedef struct {
	PyObject_HEAD
	const State *state;
	PyObject *module; /* which keeps the state */
	PyObject *open;   /* makes a page, and calls map */
	PyObject *awaits; /* a coroutine function: awaits whatever can be awaited */
	PyObject *coroutine; /* the type of a coroutine */
	uint64_t *row;    /* none before the first request of this process */
	uint64_t since;   /* requests that began before it are another process's */
	uint64_t nowhere[CELLS]; /* the row where no page can be had */
} Counter;

/* Application is an ASGI application around another one. */
typedef struct {
	PyObject_HEAD
	Counter *counter;
	vectorcall called;
	PyObject *app, *probes, *probe, *gone, *owner, *flag, *transport, *closing;
	Flag *drains;
	int eager, probed;
} Application;

/* Request is the send that an application gets. */
typedef struct {
	PyObject_HEAD
	vectorcall called;
	Application *app;
	PyObject *send, *scope;
	uint64_t began;
	long status; /* of the answer that is being sent; -1: it has ended */
	long answered; /* what it was */
	char websocket, counted;
	char left; /* the client had, when the server was given the newest part of the body */
	char sent; /* something of the answer */
} Request;

/* What a Run drives: the application, or the server's send of a last message. */
enum { APPLICATION, LAST };

/* How it has begun. */
enum { COUNTED = 1, NOT_COUNTED = 2 };

/* Run drives a coroutine, and is like it: a call of Application returns one, and sending a last message. */
typedef struct {
	PyObject_HEAD
	Counter *counter;
	Request *request;
	PyObject *inner; /* the coroutine */
	char drives, begun, running, done;
	char body; /* the last message has a part of the body */
} Run;

/* --- the kernel */

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(1 /* CLOCK_MONOTONIC */, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static long kernel(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall"
		: "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#endif
}

#if defined(__x86_64__)
enum { FACCESSAT = 269, MMAP = 9 };
#elif defined(__aarch64__)
enum { FACCESSAT = 48, MMAP = 222 };
#endif

static int exists(const char *path)
{
	return kernel(FACCESSAT, -100 /* AT_FDCWD */, (long)path, 0, 0, 0, 0) == 0;
}

/* --- references. By functions: they know which objects are immortal, and have no count that changes (from Python
 * 3.12 on). */

static inline PyObject *keep(void *object)
{
	Py_IncRef(object);
	return object;
}

static inline void drop(void *object)
{
	Py_DecRef(object); /* which may be NULL */
}

/* empty forgets what a field refers to. The field is empty before anything else can run. */
static inline void empty(void *field)
{
	PyObject *was = *(PyObject **)field;
	*(PyObject **)field = NULL;
	drop(was);
}

static int types_are_visited; /* by those who traverse an object: from 3.9 on */

#define VISIT(field) do { \
	if ((field) != NULL) { \
		int stop = visit((PyObject *)(field), arg); \
		if (stop) return stop; \
	} \
} while (0)
#define VISIT_TYPE(self) do { if (types_are_visited) VISIT(Py_TYPE(self)); } while (0)

static void freed(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	PyObject_GC_Del(self);
	drop(type);
}

/* no_new keeps Python from making an object of a type by itself, which would be empty. */
static PyObject *no_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	(void)type, (void)args, (void)keywords;
	PyErr_SetString(PyExc_TypeError, "only superctl's hook makes these");
	return NULL;
}

/* forgiven forgets an error, and reports whether it has: what is no Exception, such as the SystemExit of a signal
 * handler, stays. */
static int forgiven(void)
{
	if (!PyErr_ExceptionMatches(PyExc_Exception))
		return 0;
	PyErr_Clear();
	return 1;
}

/* --- Flag */

/* It looks at most once in a millisecond, as in sitecustomize.py. */
static int drains(Flag *self)
{
	uint64_t time = now();
	if (time >= self->until) {
		self->value = exists(self->path);
		self->until = time + 1000000;
	}
	return self->value;
}

static PyObject *flag_drains(PyObject *self, PyObject *nothing)
{
	(void)nothing;
	return PyBool_FromLong(drains((Flag *)self));
}

static int flag_traverse(PyObject *self, visitproc visit, void *arg)
{
	VISIT_TYPE(self);
	return 0;
}

static void flag_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	empty(&((Flag *)self)->bytes);
	freed(self);
}

static PyMethodDef flag_methods[] = {{"drains", flag_drains, METH_NOARGS, NULL}, {0}};
static PyType_Slot flag_slots[] = {
	{Py_tp_new, no_new}, {Py_tp_traverse, flag_traverse}, {Py_tp_dealloc, flag_dealloc}, {Py_tp_methods, flag_methods},
	{0},
};
static PyType_Spec flag_spec = {
	"superctl_native.Flag", sizeof(Flag), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, flag_slots,
};

/* --- Counter */

/* started counts a request that begins. It returns -1 with an error. */
static int started(Counter *self)
{
	if (self->row == NULL) {
		PyObject *result = PyObject_CallFunctionObjArgs(self->open, NULL); /* it says so where it fails */
		if (result == NULL && !forgiven())
			return -1;
		drop(result);
		if (self->row == NULL)
			self->row = self->nowhere;
	}
	self->row[STARTED]++;
	return 0;
}

static void failed(Counter *self, uint64_t began, int cell)
{
	if (self->row != NULL && began >= self->since)
		self->row[cell]++;
}

static void ended(Counter *self, uint64_t began, long status)
{
	if (status < 100 || status > 599) {
		failed(self, began, BROKEN);
		return;
	}
	if (self->row == NULL || began < self->since)
		return;
	uint64_t units = (now() - began) >> 12; /* 4.096 us */
	int octave = units < 16 ? -1 : 59 - __builtin_clzll(units);
	uint64_t cell = octave < 0 ? units : ((uint64_t)octave << 4) + (units >> octave); /* linear, then 16 cells an octave */
	self->row[status / 100]++;
	self->row[DURATIONS + (cell < LONGEST ? cell : LONGEST)]++;
}

/* begin() returns what end and fail want to know of the request. */
static PyObject *counter_begin(PyObject *self, PyObject *nothing)
{
	(void)nothing;
	uint64_t began = now();
	return started((Counter *)self) < 0 ? NULL : PyLong_FromUnsignedLongLong(began);
}

/* number returns an integer of at least 0; what is none, or is too large, is 0. */
static long number(PyObject *value)
{
	long n = PyLong_AsLong(value);
	if (n == -1 && PyErr_Occurred())
		PyErr_Clear();
	return n < 0 ? 0 : n;
}

static PyObject *counter_over(Counter *self, PyObject *const *args, Py_ssize_t count, int answered)
{
	if (count != 2) {
		PyErr_SetString(PyExc_ValueError, "a request, and how it has ended");
		return NULL;
	}
	uint64_t began = PyLong_AsUnsignedLongLong(args[0]);
	if (PyErr_Occurred())
		return NULL;
	long how = number(args[1]);
	if (answered)
		ended(self, began, how);
	else if (how == BROKEN || how == ABORTED)
		failed(self, began, (int)how);
	return keep(Py_None);
}

/* end(request, status) */
static PyObject *counter_end(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
	return counter_over((Counter *)self, args, count, 1);
}

/* fail(request, cell) */
static PyObject *counter_fail(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
	return counter_over((Counter *)self, args, count, 0);
}

/* reset() forgets the page, also in a child after a fork. */
static PyObject *counter_reset(PyObject *self, PyObject *nothing)
{
	(void)nothing;
	((Counter *)self)->row = NULL;
	((Counter *)self)->since = now();
	return keep(Py_None);
}

/* map(descriptor) maps a page file of one row, for the life of the process, and returns its memory. */
static PyObject *counter_map(PyObject *self, PyObject *descriptor)
{
	enum { SIZE = 2 * CELLS * sizeof(uint64_t), READ_WRITE = 3, MAP_SHARED = 1 };
	long fd = PyLong_AsLong(descriptor);
	if (fd == -1 && PyErr_Occurred())
		return NULL;
	long at = kernel(MMAP, 0, SIZE, READ_WRITE, MAP_SHARED, fd, 0);
	if (at < 0 && at > -4096) {
		PyErr_SetString(PyExc_RuntimeError, "the page cannot be mapped");
		return NULL;
	}
	PyObject *memory = PyMemoryView_FromMemory((char *)at, SIZE, PyBUF_WRITE);
	Counter *counter = (Counter *)self;
	if (memory != NULL && (counter->row == NULL || counter->row == counter->nowhere))
		counter->row = (uint64_t *)at + CELLS; /* else another thread was first; this page stays at 0 */
	return memory;
}

static PyObject *application_called(PyObject *, PyObject *const *, size_t, PyObject *);

/* asgi(app, probes, probe, gone, owner, flag, transport, drains, closing, eager) is Counting.asgi. */
static PyObject *counter_asgi(PyObject *self, PyObject *args)
{
	PyObject *app, *probes, *probe, *gone, *owner, *flag, *transport, *drains, *closing;
	int eager, probed;
	Counter *counter = (Counter *)self;
	if (!PyArg_ParseTuple(
		args, "OOOOOOOOOp:asgi", &app, &probes, &probe, &gone, &owner, &flag, &transport, &drains, &closing, &eager
	))
		return NULL;
	if (drains != Py_None && Py_TYPE(drains) != (PyTypeObject *)counter->state->flag) {
		PyErr_SetString(PyExc_ValueError, "drains is no flag");
		return NULL;
	}
	if ((probed = PyObject_IsTrue(probes)) < 0)
		return NULL;
	Application *a = (Application *)PyType_GenericAlloc((PyTypeObject *)counter->state->application, 0);
	if (a == NULL)
		return NULL;
	a->called = application_called;
	a->counter = (Counter *)keep(counter);
	a->app = keep(app), a->probes = keep(probes), a->probe = keep(probe), a->gone = keep(gone);
	a->owner = owner == Py_None ? NULL : keep(owner);
	a->flag = flag == Py_None ? NULL : keep(flag);
	a->transport = transport == Py_None ? NULL : keep(transport);
	a->drains = drains == Py_None ? NULL : (Flag *)keep(drains);
	a->closing = keep(closing);
	a->eager = eager, a->probed = probed;
	return (PyObject *)a;
}

static int counter_traverse(PyObject *self, visitproc visit, void *arg)
{
	Counter *c = (Counter *)self;
	VISIT_TYPE(self);
	VISIT(c->module);
	VISIT(c->open);
	VISIT(c->awaits);
	VISIT(c->coroutine);
	return 0;
}

static int counter_clear(PyObject *self)
{
	Counter *c = (Counter *)self;
	empty(&c->open);
	empty(&c->awaits);
	return 0;
}

static void counter_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	counter_clear(self);
	empty(&((Counter *)self)->coroutine);
	empty(&((Counter *)self)->module);
	freed(self);
}

static PyMethodDef counter_methods[] = {
	{"begin", counter_begin, METH_NOARGS, NULL},
	{"end", (PyCFunction)(void *)counter_end, METH_FASTCALL, NULL},
	{"fail", (PyCFunction)(void *)counter_fail, METH_FASTCALL, NULL},
	{"reset", counter_reset, METH_NOARGS, NULL},
	{"map", counter_map, METH_O, NULL},
	{"asgi", counter_asgi, METH_VARARGS, NULL},
	{0},
};
static PyType_Slot counter_slots[] = {
	{Py_tp_new, no_new}, {Py_tp_traverse, counter_traverse}, {Py_tp_clear, counter_clear},
	{Py_tp_dealloc, counter_dealloc}, {Py_tp_methods, counter_methods}, {0},
};
static PyType_Spec counter_spec = {
	"superctl_native.Counter", sizeof(Counter), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, counter_slots,
};

/* --- reading messages. An error in one is the server's to refuse. */

/* item returns message[name]. */
static PyObject *item(PyObject *message, PyObject *name)
{
	if (Py_TYPE(message) != &PyDict_Type)
		return PyObject_GetItem(message, name);
	PyObject *value = PyDict_GetItemWithError(message, name);
	if (value != NULL)
		return keep(value);
	if (!PyErr_Occurred())
		PyErr_SetString(PyExc_ValueError, "missing");
	return NULL;
}

/* holds reports whether message.get(name) is true, or -1 with an error. */
static int holds(const State *n, PyObject *message, PyObject *name)
{
	PyObject *value;
	if (Py_TYPE(message) == &PyDict_Type) {
		value = PyDict_GetItemWithError(message, name);
		if (value == NULL)
			return PyErr_Occurred() ? -1 : 0;
		keep(value);
	} else if ((value = PyObject_CallMethodObjArgs(message, n->get, name, NULL)) == NULL) {
		return -1;
	}
	int is = PyObject_IsTrue(value);
	drop(value);
	return is;
}

/* same reports whether an object, of any type, is a text. */
static int same(PyObject *text, const char *as)
{
	const unsigned long TEXT = 1UL << 28; /* str, and what is derived from it */
	if (Py_TYPE(text) != &PyUnicode_Type && !(PyType_GetFlags(Py_TYPE(text)) & TEXT))
		return 0;
	return PyUnicode_CompareWithASCIIString(text, as) == 0;
}

/* read_status sets the status to int(message["status"]), or to one that HTTP does not have. It returns 0, or -1
 * with an error. */
static int read_status(Request *self, PyObject *message)
{
	PyObject *value = item(message, self->app->counter->state->status);
	PyObject *whole = value == NULL ? NULL : PyNumber_Long(value);
	drop(value);
	if (whole == NULL)
		return -1;
	long status = PyLong_AsLong(whole);
	drop(whole);
	if (status == -1 && PyErr_Occurred()) /* it is a larger integer */
		PyErr_Clear();
	self->status = status > 0 ? status : 1000; /* 0 and less mean something else here */
	return 0;
}

/* --- calls */

/* as_call makes a call with a tuple and a dict of it. */
static PyObject *as_call(
	PyObject *self, PyObject *(*call)(PyObject *, PyObject *, PyObject *), PyObject *const *args, size_t count,
	PyObject *names
)
{
	PyObject *tuple = PyTuple_New((Py_ssize_t)count), *keywords = names != NULL ? PyDict_New() : NULL, *result = NULL;
	if (tuple == NULL || (names != NULL && keywords == NULL))
		goto end;
	for (size_t i = 0; i < count; i++)
		if (PyTuple_SetItem(tuple, (Py_ssize_t)i, keep(args[i])) < 0)
			goto end;
	for (Py_ssize_t i = 0; names != NULL && i < PyTuple_Size(names); i++)
		if (PyDict_SetItem(keywords, PyTuple_GetItem(names, i), args[count + (size_t)i]) < 0)
			goto end;
	result = call(self, tuple, keywords);
end:
	drop(tuple);
	drop(keywords);
	return result;
}

/* --- Request */

/* truth is that of an object that is dropped, or -1 with an error. */
static int truth(PyObject *object)
{
	int is = object == NULL ? -1 : PyObject_IsTrue(object);
	drop(object);
	return is;
}

/* attributes_tell reports by attributes of the server whether the client has left, or -1 with an error. */
static int attributes_tell(Request *self)
{
	Application *a = self->app;
	const State *n = a->counter->state;
	PyObject *owner = a->owner != NULL ? keep(a->owner) : PyObject_GetAttr(self->send, n->__self__);
	if (owner == NULL)
		return -1;
	int is = truth(PyObject_GetAttr(owner, a->flag));
	if (is == 0 && a->transport != NULL) {
		PyObject *transport = PyObject_GetAttr(owner, a->transport);
		is = transport == NULL ? -1 : truth(PyObject_CallMethodObjArgs(transport, n->is_closing, NULL));
		drop(transport);
	}
	drop(owner);
	return is;
}

/* gone reports whether the client has left, or -1 with an error that is no Exception. */
static int gone(Request *self)
{
	if (self->app->flag != NULL) {
		int is = attributes_tell(self);
		if (is >= 0 || !forgiven())
			return is;
	}
	if (self->app->gone == Py_None)
		return 0;
	int is = truth(PyObject_CallFunctionObjArgs(self->app->gone, self->send, NULL));
	return is < 0 && forgiven() ? 0 : is;
}

/* answer_ended counts what has become of the last message that was awaited first. */
static void answer_ended(Request *self, int raised)
{
	Counter *counter = self->app->counter;
	if (!self->counted)
		return;
	if (self->left)
		failed(counter, self->began, ABORTED);
	else if (raised)
		failed(counter, self->began, BROKEN);
	else
		ended(counter, self->began, self->answered);
}

/* last_begins is when the first last message is awaited. It returns -1 with an error. */
static int last_begins(Request *self, int body)
{
	self->answered = self->status;
	self->status = -1;
	if (body) {
		int left = gone(self);
		if (left < 0)
			return -1;
		self->left = (char)left;
	}
	return 0;
}

/* returned counts a request whose application has ended before its answer. unanswered is the status that the server
 * answers by itself. It returns -1 with an error. */
static int returned(Request *self, long unanswered)
{
	Counter *counter = self->app->counter;
	if (self->status < 0 || !self->counted)
		return 0;
	int left = gone(self);
	if (left < 0)
		return -1;
	if (left)
		failed(counter, self->began, ABORTED);
	else if (self->status != 0 && self->sent)
		failed(counter, self->began, BROKEN);
	else
		ended(counter, self->began, unanswered);
	self->status = -1;
	return 0;
}

/* as_coroutine makes a coroutine of what can be awaited. */
static PyObject *as_coroutine(Counter *counter, PyObject *awaitable)
{
	if (awaitable == NULL || (PyObject *)Py_TYPE(awaitable) == counter->coroutine)
		return awaitable;
	PyObject *coroutine = PyObject_CallFunctionObjArgs(counter->awaits, awaitable, NULL);
	drop(awaitable);
	return coroutine;
}

static int begins(Run *);
static int over(Run *, int);

/* run_new makes a Run without a coroutine. */
static Run *run_new(Counter *counter, Request *request, int drives)
{
	Run *run = (Run *)PyType_GenericAlloc((PyTypeObject *)counter->state->run, 0);
	if (run != NULL) {
		run->counter = (Counter *)keep(counter);
		run->request = (Request *)keep(request);
		run->drives = (char)drives;
	}
	return run;
}

/* send_last sends the last message. What it returns is counted when it is awaited. */
static PyObject *send_last(Request *self, PyObject *message)
{
	Counter *counter = self->app->counter;
	int body = holds(counter->state, message, counter->state->body);
	if (body < 0 && !forgiven())
		return NULL;
	Run *run = run_new(counter, self, LAST);
	if (run == NULL)
		return NULL;
	run->body = body > 0;
	run->inner = as_coroutine(counter, PyObject_CallFunctionObjArgs(self->send, message, NULL));
	if (run->inner != NULL)
		return (PyObject *)run;
	PyObject *type, *value, *traceback;
	PyErr_Fetch(&type, &value, &traceback);
	if (begins(run) == 0 && over(run, 1) == 0) {
		PyErr_Restore(type, value, traceback);
	} else {
		drop(type);
		drop(value);
		drop(traceback);
	}
	drop(run);
	return NULL;
}

/* is_last reports whether a message is the last one of the answer, after it has noted what it says; -1 with an
 * error. */
static int is_last(Request *self, PyObject *message, PyObject *type)
{
	const State *n = self->app->counter->state;
	if (same(type, "http.response.body") || same(type, "http.response.pathsend") ||
	    same(type, "websocket.http.response.body")) {
		if (self->status > 0) {
			int more = holds(n, message, n->more_body);
			if (more <= 0)
				return more < 0 ? -1 : 1;
		}
		int left = gone(self);
		if (left < 0)
			return -1;
		self->left = (char)left;
		self->sent = 1;
		return 0;
	}
	if (!self->websocket || self->status != 0)
		return 0;
	if (same(type, "websocket.http.response.start"))
		return read_status(self, message);
	if (same(type, "websocket.accept"))
		self->status = 101;
	else if (same(type, "websocket.close"))
		self->status = 403;
	return self->status != 0;
}

/* starts returns the message that starts an answer, as it is to be sent, or NULL with an error. */
static PyObject *starts(Request *self, PyObject *message)
{
	if (self->status == 0 && read_status(self, message) < 0)
		return NULL;
	if (self->app->drains != NULL && drains(self->app->drains))
		return PyObject_CallFunctionObjArgs(self->app->closing, self->scope, message, NULL);
	return keep(message);
}

static PyObject *request_send(Request *self, PyObject *message)
{
	if (self->app == NULL) { /* the collector has taken it apart */
		PyErr_SetString(PyExc_RuntimeError, "the request is over");
		return NULL;
	}
	PyObject *type = item(message, self->app->counter->state->type);
	PyObject *other = NULL;
	int last = -1;
	if (type != NULL && same(type, "http.response.start"))
		last = (other = starts(self, message)) == NULL ? -1 : 0;
	else if (type != NULL)
		last = is_last(self, message, type);
	drop(type);
	if (last < 0 && !forgiven())
		return NULL;
	if (last > 0)
		return send_last(self, message);
	PyObject *result = PyObject_CallFunctionObjArgs(self->send, other != NULL ? other : message, NULL);
	drop(other);
	return result;
}

static PyObject *request_call(PyObject *self, PyObject *args, PyObject *keywords)
{
	static char *names[] = {"message", NULL};
	PyObject *message;
	if (!PyArg_ParseTupleAndKeywords(args, keywords, "O:send", names, &message))
		return NULL;
	return request_send((Request *)self, message);
}

static PyObject *request_called(PyObject *self, PyObject *const *args, size_t count, PyObject *names)
{
	count &= ~VECTORCALL_OFFSET;
	if (count == 1 && names == NULL)
		return request_send((Request *)self, args[0]);
	return as_call(self, request_call, args, count, names);
}

static int request_traverse(PyObject *self, visitproc visit, void *arg)
{
	Request *r = (Request *)self;
	VISIT_TYPE(self);
	VISIT(r->app);
	VISIT(r->send);
	VISIT(r->scope);
	return 0;
}

static int request_clear(PyObject *self)
{
	Request *r = (Request *)self;
	empty(&r->app);
	empty(&r->send);
	empty(&r->scope);
	return 0;
}

static void request_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	request_clear(self);
	freed(self);
}

static PyMemberDef request_members[] = {
	{"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(Request, called), Py_READONLY, NULL}, {0},
};
static PyType_Slot request_slots[] = {
	{Py_tp_new, no_new}, {Py_tp_traverse, request_traverse}, {Py_tp_clear, request_clear},
	{Py_tp_dealloc, request_dealloc}, {Py_tp_call, request_call}, {Py_tp_members, request_members}, {0},
};
static PyType_Spec request_spec = {
	"superctl_native.Request", sizeof(Request), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, request_slots,
};

/* --- Run */

/* over counts the end of a coroutine: it has returned (0), raised an Exception (1), or something else has ended it
 * (-1). It returns -1 with an error. */
static int over(Run *self, int raised)
{
	self->done = 1;
	if (self->request->app == NULL) /* the collector has taken it apart */
		return 0;
	if (self->drives == APPLICATION)
		return returned(self->request, raised < 0 ? 0 : 500);
	if (self->begun == COUNTED)
		answer_ended(self->request, raised);
	return 0;
}

/* over_with_error is over where an exception says how. It returns NULL with that, or with a newer one that is no
 * Exception. */
static PyObject *over_with_error(Run *self)
{
	PyObject *type, *value, *traceback;
	int raised = PyErr_ExceptionMatches(PyExc_StopIteration) ? 0 : PyErr_ExceptionMatches(PyExc_Exception) ? 1 : -1;
	PyErr_Fetch(&type, &value, &traceback);
	if (over(self, raised) == 0) {
		PyErr_Restore(type, value, traceback);
		return NULL;
	}
	drop(type);
	drop(value);
	drop(traceback);
	return NULL;
}

/* can_go_on reports whether the coroutine can be resumed, or else sets an error, as Python does. */
static int can_go_on(Run *self)
{
	if (self->running)
		PyErr_SetString(PyExc_ValueError, "coroutine already executing");
	else if (self->inner == NULL || self->done)
		PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
	else
		return 1;
	return 0;
}

/* begins is when a coroutine is awaited. It returns -1 with an error. */
static int begins(Run *self)
{
	/* not counted: the answer has ended with another last message, or the collector has taken the request apart */
	self->begun = NOT_COUNTED;
	if (self->drives == APPLICATION || self->request->app == NULL || self->request->status < 0)
		return 0;
	self->begun = COUNTED;
	return last_begins(self->request, self->body);
}

/* resume sends a value into the coroutine. It returns what the coroutine yields, or NULL with an error, or NULL
 * alone: it has returned None. */
static PyObject *resume(Run *self, PyObject *value)
{
	PyObject *result = NULL;
	if (!can_go_on(self))
		return NULL;
	self->running = 1;
	if (!self->begun && begins(self) < 0) {
		self->running = 0, self->done = 1;
		return NULL;
	}
	if (PyIter_Send == NULL) {
		result = PyObject_CallMethodObjArgs(self->inner, self->counter->state->send, value, NULL);
		self->running = 0;
		return result != NULL ? result : over_with_error(self);
	}
	PySendResult how = PyIter_Send(self->inner, value, &result);
	self->running = 0;
	if (how == PYGEN_NEXT)
		return result;
	if (how == PYGEN_ERROR)
		return over_with_error(self);
	if (over(self, 0) == 0 && result != Py_None) {
		PyObject *stop = PyObject_CallFunctionObjArgs(PyExc_StopIteration, result, NULL);
		if (stop != NULL)
			PyErr_SetObject(PyExc_StopIteration, stop);
		drop(stop);
	}
	drop(result);
	return NULL;
}

static PyObject *run_next(PyObject *self)
{
	return resume((Run *)self, Py_None);
}

static PyObject *run_await(PyObject *self)
{
	return keep(self);
}

static PyObject *run_send(PyObject *self, PyObject *value)
{
	PyObject *result = resume((Run *)self, value);
	if (result == NULL && !PyErr_Occurred())
		PyErr_SetObject(PyExc_StopIteration, Py_None);
	return result;
}

static PyObject *run_throw(PyObject *self, PyObject *args)
{
	Run *r = (Run *)self;
	if (!can_go_on(r))
		return NULL;
	PyObject *raise = PyObject_GetAttr(r->inner, r->counter->state->throw);
	if (raise == NULL)
		return NULL;
	r->running = 1;
	PyObject *result = PyObject_Call(raise, args, NULL);
	r->running = 0;
	drop(raise);
	return result != NULL ? result : over_with_error(r);
}

static PyObject *run_close(PyObject *self, PyObject *nothing)
{
	Run *r = (Run *)self;
	(void)nothing;
	if (r->inner == NULL || r->done)
		return keep(Py_None);
	if (!can_go_on(r))
		return NULL;
	r->running = 1;
	PyObject *result = PyObject_CallMethodObjArgs(r->inner, r->counter->state->close, NULL);
	r->running = 0;
	PyObject *type, *value, *traceback;
	PyErr_Fetch(&type, &value, &traceback);
	if (over(r, -1) == 0) {
		PyErr_Restore(type, value, traceback);
		return result;
	}
	drop(result);
	drop(type);
	drop(value);
	drop(traceback);
	return NULL;
}

/* run_getattro has the attributes of a coroutine from the one that it drives. */
static PyObject *run_getattro(PyObject *self, PyObject *name)
{
	PyObject *inner = ((Run *)self)->inner;
	PyObject *value = PyObject_GenericGetAttr(self, name);
	if (value != NULL || inner == NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
		return value;
	PyErr_Clear();
	return PyObject_GetAttr(inner, name);
}

/* run_class has isinstance find that it is a coroutine: libraries refuse to start anything else. */
static PyObject *run_class(PyObject *self, void *nothing)
{
	(void)nothing;
	return keep(((Run *)self)->counter->coroutine);
}

static int run_traverse(PyObject *self, visitproc visit, void *arg)
{
	Run *r = (Run *)self;
	VISIT_TYPE(self);
	VISIT(r->inner);
	VISIT(r->counter);
	VISIT(r->request);
	return 0;
}

/* run_clear drops the coroutine: where that is not at its end, Python raises GeneratorExit in it. */
static int run_clear(PyObject *self)
{
	Run *r = (Run *)self;
	if (r->inner == NULL)
		return 0;
	PyObject *type, *value, *traceback;
	PyErr_Fetch(&type, &value, &traceback);
	empty(&r->inner);
	if (!r->done && over(r, -1) < 0)
		PyErr_WriteUnraisable(NULL);
	PyErr_Restore(type, value, traceback);
	return 0;
}

static void run_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	run_clear(self);
	empty(&((Run *)self)->request);
	empty(&((Run *)self)->counter);
	freed(self);
}

static PyMethodDef run_methods[] = {
	{"send", run_send, METH_O, NULL}, {"throw", run_throw, METH_VARARGS, NULL}, {"close", run_close, METH_NOARGS, NULL},
	{0},
};
static PyGetSetDef run_getset[] = {{"__class__", run_class, NULL, NULL, NULL}, {0}};
static PyType_Slot run_slots[] = {
	{Py_tp_new, no_new}, {Py_tp_traverse, run_traverse}, {Py_tp_clear, run_clear}, {Py_tp_dealloc, run_dealloc},
	{Py_tp_iternext, run_next}, {Py_am_await, run_await}, {Py_tp_methods, run_methods}, {Py_tp_getattro, run_getattro},
	{Py_tp_getset, run_getset}, {0},
};
static PyType_Spec run_spec = {
	"superctl_native.Run", sizeof(Run), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, run_slots,
};

/* --- Application */

/* is_probe reports whether a request is one of superctl's own, or -1 with an error that is no Exception. */
static int is_probe(Application *self, PyObject *scope)
{
	const State *n = self->counter->state;
	if (!self->probed)
		return 0;
	PyObject *path = item(scope, n->path);
	int is = path == NULL ? -1 : PySequence_Contains(self->probes, path);
	drop(path);
	if (is > 0)
		is = truth(PyObject_CallFunctionObjArgs(self->probe, scope, NULL));
	return is < 0 && forgiven() ? 0 : is;
}

/* serves reports whether an application is called for a request: 1 for HTTP, 2 for a WebSocket, 0 for something
 * else, -1 with an error. */
static int serves(Application *self, PyObject *scope)
{
	PyObject *type = item(scope, self->counter->state->type);
	if (type == NULL)
		return -1;
	int kind = same(type, "http") ? 1 : same(type, "websocket") ? 2 : 0;
	drop(type);
	return kind;
}

/* request_begins makes the send of a request, and counts that. */
static Request *request_begins(Application *self, PyObject *scope, PyObject *send, int kind)
{
	Request *r = (Request *)PyType_GenericAlloc((PyTypeObject *)self->counter->state->request, 0);
	if (r == NULL)
		return NULL;
	r->called = request_called;
	r->app = (Application *)keep(self);
	r->scope = keep(scope);
	r->send = keep(send);
	r->websocket = kind == 2;
	r->sent = (char)self->eager;
	int probe = is_probe(self, scope);
	r->counted = probe == 0;
	r->began = now();
	if (probe < 0 || (r->counted && started(self->counter) < 0)) {
		drop(r);
		return NULL;
	}
	return r;
}

/* call_app calls the application with the request's send. rest are further arguments, or NULL. */
static PyObject *call_app(Application *self, PyObject *scope, PyObject *receive, Request *request, PyObject *rest)
{
	if (rest == NULL)
		return PyObject_CallFunctionObjArgs(self->app, scope, receive, request, NULL);
	PyObject *first = PyTuple_Pack(3, scope, receive, request);
	PyObject *all = first != NULL ? PySequence_Concat(first, rest) : NULL;
	PyObject *result = all != NULL ? PyObject_Call(self->app, all, NULL) : NULL;
	drop(first);
	drop(all);
	return result;
}

/* serve begins a request. */
static PyObject *serve(Application *self, int kind, PyObject *scope, PyObject *receive, PyObject *send, PyObject *rest)
{
	Request *request = request_begins(self, scope, send, kind);
	Run *run = request == NULL ? NULL : run_new(self->counter, request, APPLICATION);
	if (run != NULL && (run->inner = as_coroutine(self->counter, call_app(self, scope, receive, request, rest))) == NULL) {
		over_with_error(run);
		empty(&run);
	}
	drop(request);
	return (PyObject *)run;
}

/* app_of returns the application, or NULL with an error: the collector has taken it apart. */
static PyObject *app_of(Application *self)
{
	if (self->app == NULL)
		PyErr_SetString(PyExc_RuntimeError, "the application is gone");
	return self->app;
}

static PyObject *application_call(PyObject *self, PyObject *args, PyObject *keywords)
{
	Application *a = (Application *)self;
	if (app_of(a) == NULL)
		return NULL;
	if (keywords != NULL || PyTuple_Size(args) < 3)
		return PyObject_Call(a->app, args, keywords);
	PyObject *scope = PyTuple_GetItem(args, 0);
	int kind = serves(a, scope);
	if (kind <= 0)
		return kind < 0 ? NULL : PyObject_Call(a->app, args, NULL);
	PyObject *rest = PyTuple_Size(args) > 3 ? PySequence_GetSlice(args, 3, PyTuple_Size(args)) : NULL;
	PyObject *result = NULL;
	if (rest != NULL || PyTuple_Size(args) == 3)
		result = serve(a, kind, scope, PyTuple_GetItem(args, 1), PyTuple_GetItem(args, 2), rest);
	drop(rest);
	return result;
}

static PyObject *application_called(PyObject *self, PyObject *const *args, size_t count, PyObject *names)
{
	Application *a = (Application *)self;
	count &= ~VECTORCALL_OFFSET;
	if (count != 3 || names != NULL)
		return as_call(self, application_call, args, count, names);
	if (app_of(a) == NULL)
		return NULL;
	int kind = serves(a, args[0]);
	if (kind > 0)
		return serve(a, kind, args[0], args[1], args[2], NULL);
	return kind < 0 ? NULL : PyObject_CallFunctionObjArgs(a->app, args[0], args[1], args[2], NULL);
}

static int application_traverse(PyObject *self, visitproc visit, void *arg)
{
	Application *a = (Application *)self;
	VISIT_TYPE(self);
	VISIT(a->counter);
	VISIT(a->app);
	VISIT(a->probes);
	VISIT(a->probe);
	VISIT(a->gone);
	VISIT(a->owner);
	VISIT(a->closing);
	VISIT(a->drains);
	return 0;
}

static int application_clear(PyObject *self)
{
	Application *a = (Application *)self;
	a->probed = 0;
	empty(&a->owner);
	empty(&a->flag);
	empty(&a->app);
	return 0;
}

static void application_dealloc(PyObject *self)
{
	Application *a = (Application *)self;
	PyObject_GC_UnTrack(self);
	application_clear(self);
	empty(&a->transport);
	empty(&a->probes);
	empty(&a->probe);
	empty(&a->gone);
	empty(&a->closing);
	empty(&a->drains);
	empty(&a->counter);
	freed(self);
}

static PyMemberDef application_members[] = {
	{"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(Application, called), Py_READONLY, NULL}, {0},
};
static PyType_Slot application_slots[] = {
	{Py_tp_new, no_new}, {Py_tp_traverse, application_traverse}, {Py_tp_clear, application_clear},
	{Py_tp_dealloc, application_dealloc}, {Py_tp_call, application_call}, {Py_tp_members, application_members}, {0},
};
static PyType_Spec application_spec = {
	"superctl_native.Application", sizeof(Application), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, application_slots,
};

/* --- the module */

/* flag(path) makes a Flag; path is bytes. */
static PyObject *module_flag(PyObject *module, PyObject *args)
{
	PyObject *path;
	State *n = PyModule_GetState(module);
	if (!PyArg_ParseTuple(args, "S:flag", &path))
		return NULL;
	Flag *flag = (Flag *)PyType_GenericAlloc((PyTypeObject *)n->flag, 0);
	if (flag != NULL) {
		flag->bytes = keep(path);
		flag->path = PyBytes_AsString(path);
	}
	return (PyObject *)flag;
}

/* counter(open, awaits, coroutine) makes a Counter. */
static PyObject *module_counter(PyObject *module, PyObject *args)
{
	PyObject *open, *awaits, *coroutine;
	State *n = PyModule_GetState(module);
	if (!PyArg_ParseTuple(args, "OOO:counter", &open, &awaits, &coroutine))
		return NULL;
	Counter *counter = (Counter *)PyType_GenericAlloc((PyTypeObject *)n->counter, 0);
	if (counter == NULL)
		return NULL;
	counter->state = n;
	counter->module = keep(module);
	counter->open = keep(open), counter->awaits = keep(awaits), counter->coroutine = keep(coroutine);
	return (PyObject *)counter;
}

static int module_exec(PyObject *module)
{
	State *n = PyModule_GetState(module);
	FOR_EACH_NAME(AS_STRING)
	n->flag = PyType_FromSpec(&flag_spec);
	n->counter = PyType_FromSpec(&counter_spec);
	n->application = PyType_FromSpec(&application_spec);
	n->request = PyType_FromSpec(&request_spec);
	n->run = PyType_FromSpec(&run_spec);
	return n->flag && n->counter && n->application && n->request && n->run ? 0 : -1;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
	State *n = PyModule_GetState(module);
	if (n == NULL)
		return 0;
	VISIT(n->flag);
	VISIT(n->counter);
	VISIT(n->application);
	VISIT(n->request);
	VISIT(n->run);
	return 0;
}

static PyMethodDef module_methods[] = {
	{"flag", module_flag, METH_VARARGS, NULL}, {"counter", module_counter, METH_VARARGS, NULL}, {0},
};
static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0}};
static PyModuleDef_Slot slots_for_own_locks[] = { /* from 3.12 on an interpreter can have a lock of its own */
	{Py_mod_exec, module_exec}, {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, {0},
};
static void module_free(void *module)
{
	State *n = PyModule_GetState(module);
	if (n == NULL)
		return;
	FOR_EACH_NAME(AS_DROPPED)
	drop(n->flag), drop(n->counter), drop(n->application), drop(n->request), drop(n->run);
}

/* It clears nothing before its end: objects may outlive what the collector clears. */
static PyModuleDef definition = {
	PyModuleDef_HEAD_INIT, "superctl_native", NULL, sizeof(State), module_methods, slots, module_traverse, NULL,
	module_free,
};

__attribute__((visibility("default"))) PyObject *PyInit_superctl_native(void)
{
	types_are_visited = PyIter_Send != NULL; /* 3.9 would also have them visited: there, a type is never collected */
	if (PyIter_Send != NULL) {
		request_spec.flags |= HAVE_VECTORCALL;
		application_spec.flags |= HAVE_VECTORCALL;
	}
	if (&Py_Version != NULL && Py_Version >= 0x030c0000)
		definition.m_slots = slots_for_own_locks;
	return PyModuleDef_Init(&definition);
}
