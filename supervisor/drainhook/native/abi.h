/* The part of Python's stable ABI that hook.c uses. Python promises that it stays the same for all versions from
 * 3.8 on.
 *
 * The declarations are here, and not taken from Python.h, so that the binaries depend on no installed Python: the
 * same sources and the same compiler give the same bytes everywhere. With -DCHECK_ABI, Python.h is read as well,
 * and the compiler refuses what differs.
 */

#ifdef CHECK_ABI
#define Py_LIMITED_API 0x030c0000
#include <Python.h>
#include <structmember.h>
#include <time.h>
#ifndef Py_T_PYSSIZET
#define Py_T_PYSSIZET T_PYSSIZET
#define Py_READONLY READONLY
#endif
#ifndef Py_mod_multiple_interpreters /* Python before 3.12 */
#define Py_mod_multiple_interpreters 3
#define Py_MOD_PER_INTERPRETER_GIL_SUPPORTED ((void *)2)
#endif
#endif

#include <stddef.h>
#include <stdint.h>

#ifndef CHECK_ABI
typedef intptr_t Py_ssize_t;
typedef struct _object PyObject;
typedef struct _typeobject PyTypeObject;
struct _object {
	Py_ssize_t ob_refcnt;
	PyTypeObject *ob_type;
};
#define PyObject_HEAD PyObject ob_base;

typedef PyObject *(*PyCFunction)(PyObject *, PyObject *);
typedef int (*visitproc)(PyObject *, void *);

typedef struct {
	const char *ml_name;
	PyCFunction ml_meth;
	int ml_flags;
	const char *ml_doc;
} PyMethodDef;

typedef struct {
	const char *name;
	int type;
	Py_ssize_t offset;
	int flags;
	const char *doc;
} PyMemberDef;

typedef struct {
	const char *name;
	PyObject *(*get)(PyObject *, void *);
	int (*set)(PyObject *, PyObject *, void *);
	const char *doc;
	void *closure;
} PyGetSetDef;

typedef struct {
	int slot;
	void *pfunc;
} PyType_Slot;

typedef struct {
	const char *name;
	int basicsize;
	int itemsize;
	unsigned int flags;
	PyType_Slot *slots;
} PyType_Spec;

typedef struct {
	int slot;
	void *value;
} PyModuleDef_Slot;

typedef struct {
	PyObject ob_base;
	PyObject *(*m_init)(void);
	Py_ssize_t m_index;
	PyObject *m_copy;
} PyModuleDef_Base;

typedef struct {
	PyModuleDef_Base m_base;
	const char *m_name;
	const char *m_doc;
	Py_ssize_t m_size;
	PyMethodDef *m_methods;
	PyModuleDef_Slot *m_slots;
	int (*m_traverse)(PyObject *, visitproc, void *);
	int (*m_clear)(PyObject *);
	void (*m_free)(void *);
} PyModuleDef;

typedef enum { PYGEN_RETURN = 0, PYGEN_ERROR = -1, PYGEN_NEXT = 1 } PySendResult;

#define PyModuleDef_HEAD_INIT {{1, NULL}, NULL, 0, NULL}
#define METH_VARARGS 0x0001
#define METH_NOARGS 0x0004
#define METH_O 0x0008
#define METH_FASTCALL 0x0080
#define Py_TPFLAGS_DEFAULT (1UL << 18)
#define Py_TPFLAGS_HAVE_GC (1UL << 14)
#define Py_tp_call 50
#define Py_tp_clear 51
#define Py_tp_dealloc 52
#define Py_tp_iternext 63
#define Py_tp_getattro 58
#define Py_tp_methods 64
#define Py_tp_new 65
#define Py_tp_traverse 71
#define Py_tp_members 72
#define Py_tp_getset 73
#define Py_am_await 77
#define Py_mod_exec 2
#define Py_mod_multiple_interpreters 3
#define Py_MOD_PER_INTERPRETER_GIL_SUPPORTED ((void *)2)
#define Py_T_PYSSIZET 19
#define Py_READONLY 1
#define PyBUF_WRITE 0x200

#define Py_TYPE(o) ((o)->ob_type)
#define Py_None (&_Py_NoneStruct)

extern PyObject _Py_NoneStruct;
extern PyTypeObject PyDict_Type, PyUnicode_Type;
#endif

void Py_DecRef(PyObject *);
void Py_IncRef(PyObject *);
PyObject *PyBool_FromLong(long);
char *PyBytes_AsString(PyObject *);
PyObject *PyDict_GetItemWithError(PyObject *, PyObject *);
PyObject *PyDict_New(void);
int PyDict_SetItem(PyObject *, PyObject *, PyObject *);
void PyErr_Clear(void);
int PyErr_ExceptionMatches(PyObject *);
void PyErr_Fetch(PyObject **, PyObject **, PyObject **);
PyObject *PyErr_Occurred(void);
void PyErr_Restore(PyObject *, PyObject *, PyObject *);
void PyErr_SetObject(PyObject *, PyObject *);
void PyErr_WriteUnraisable(PyObject *);
void PyErr_SetString(PyObject *, const char *);
long PyLong_AsLong(PyObject *);
unsigned long long PyLong_AsUnsignedLongLong(PyObject *);
PyObject *PyLong_FromUnsignedLongLong(unsigned long long);
PyObject *PyMemoryView_FromMemory(char *, Py_ssize_t, int);
PyObject *PyModuleDef_Init(PyModuleDef *);
void *PyModule_GetState(PyObject *);
PyObject *PyNumber_Long(PyObject *);
PyObject *PyObject_Call(PyObject *, PyObject *, PyObject *);
PyObject *PyObject_CallFunctionObjArgs(PyObject *, ...);
PyObject *PyObject_CallMethodObjArgs(PyObject *, PyObject *, ...);
PyObject *PyObject_GenericGetAttr(PyObject *, PyObject *);
PyObject *PyObject_GetAttr(PyObject *, PyObject *);
PyObject *PyObject_GetItem(PyObject *, PyObject *);
int PyObject_IsTrue(PyObject *);
void PyObject_GC_Del(void *);
void PyObject_GC_UnTrack(void *);
int PySequence_Contains(PyObject *, PyObject *);
PyObject *PySequence_GetSlice(PyObject *, Py_ssize_t, Py_ssize_t);
PyObject *PySequence_Concat(PyObject *, PyObject *);
PyObject *PyTuple_GetItem(PyObject *, Py_ssize_t);
PyObject *PyTuple_New(Py_ssize_t);
int PyTuple_SetItem(PyObject *, Py_ssize_t, PyObject *);
PyObject *PyTuple_Pack(Py_ssize_t, ...);
Py_ssize_t PyTuple_Size(PyObject *);
unsigned long PyType_GetFlags(PyTypeObject *);
PyObject *PyType_FromSpec(PyType_Spec *);
PyObject *PyType_GenericAlloc(PyTypeObject *, Py_ssize_t);
int PyUnicode_CompareWithASCIIString(PyObject *, const char *);
PyObject *PyUnicode_InternFromString(const char *);
int PyArg_ParseTuple(PyObject *, const char *, ...);
int PyArg_ParseTupleAndKeywords(PyObject *, PyObject *, const char *, char **, ...);
extern PyObject *PyExc_AttributeError, *PyExc_Exception, *PyExc_RuntimeError;
extern PyObject *PyExc_StopIteration, *PyExc_TypeError, *PyExc_ValueError;

/* These came later than 3.8. A weak symbol that is not there is NULL. */
#ifndef CHECK_ABI
struct timespec {
	long tv_sec, tv_nsec;
};
int clock_gettime(int, struct timespec *);
extern const unsigned long Py_Version __attribute__((weak)); /* 3.11 */
#endif
PySendResult PyIter_Send(PyObject *, PyObject *, PyObject **) __attribute__((weak)); /* 3.10 */
