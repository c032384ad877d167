/* Pictures resized as Pillow does it, to the last bit, several channels at once.
 *
 * Two passes, columns first, each with 8-bit results in between; coefficients are whole numbers of 22 binary places
 * that resample.py works out and keeps. Everything that is given is checked against the sizes before it is used.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 22
#define HALF (1 << (PLACES - 1))

/* Compiled for newer processors as well, and chosen when the program starts. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* One axis: pixel i of the new axis is the sum over its `count[i]` old ones from `first[i]` on, times `weights`. */
typedef struct {
    const int32_t *first, *count, *weights;
    Py_ssize_t old, new, taps;
} Axis;

static inline uint8_t clipped(int32_t sum) {
    int32_t value = sum >> PLACES;
    return value < 0 ? 0 : value > 255 ? 255 : (uint8_t)value;
}

/* ROWS rows at once, all of one length; each may be read one byte beyond its last pixel. */
#define ROWS 8
FOR_EACH_PROCESSOR
static void across(const uint8_t *const *in, uint8_t *const *out, Axis axis) {
    for (Py_ssize_t x = 0; x < axis.new; x++) {
        const int32_t *weights = axis.weights + x * axis.taps;
        const Py_ssize_t first = 3 * (Py_ssize_t)axis.first[x];
        int32_t sums[4 * ROWS];
        for (int i = 0; i < 4 * ROWS; i++)
            sums[i] = HALF;
        for (int32_t tap = 0; tap < axis.count[x]; tap++) {
            uint8_t pixels[4 * ROWS]; /* the fourth byte of each only fills the register */
            for (int row = 0; row < ROWS; row++)
                memcpy(pixels + 4 * row, in[row] + first + 3 * tap, 4);
            const int32_t weight = weights[tap];
            for (int i = 0; i < 4 * ROWS; i++)
                sums[i] += pixels[i] * weight;
        }
        for (int row = 0; row < ROWS; row++)
            for (int channel = 0; channel < 3; channel++)
                out[row][3 * x + channel] = clipped(sums[4 * row + channel]);
    }
}

/* All rows of the new picture from `rows`, which are `bytes` long; `sums` has room for one row. */
FOR_EACH_PROCESSOR
static void down(const uint8_t *rows, uint8_t *out, Axis axis, Py_ssize_t bytes, int32_t *sums) {
    for (Py_ssize_t y = 0; y < axis.new; y++, out += bytes) {
        const int32_t *weights = axis.weights + y * axis.taps;
        for (Py_ssize_t i = 0; i < bytes; i++)
            sums[i] = HALF;
        for (int32_t tap = 0; tap < axis.count[y]; tap++) {
            const uint8_t *row = rows + (axis.first[y] + tap) * bytes;
            const int32_t weight = weights[tap];
            for (Py_ssize_t i = 0; i < bytes; i++)
                sums[i] += row[i] * weight;
        }
        for (Py_ssize_t i = 0; i < bytes; i++)
            out[i] = clipped(sums[i]);
    }
}

static int resize(const uint8_t *in, uint8_t *out, Axis columns, Axis rows) {
    const Py_ssize_t old_bytes = 3 * columns.old, bytes = 3 * columns.new;
    uint8_t *between = malloc((size_t)(rows.old * bytes)), *last = malloc((size_t)old_bytes + 1);
    int32_t *sums = malloc(sizeof(int32_t) * (size_t)bytes);
    const int fits = between && last && sums;
    if (fits) {
        memcpy(last, in + (rows.old - 1) * old_bytes, (size_t)old_bytes);
        last[old_bytes] = 0; /* behind the last row, there is nothing that may be read */
        for (Py_ssize_t y = 0; y < rows.old; y += ROWS) {
            const uint8_t *from[ROWS];
            uint8_t *to[ROWS];
            for (int i = 0; i < ROWS; i++) { /* what is left over is filled up with the last row again */
                const Py_ssize_t row = y + i < rows.old ? y + i : rows.old - 1;
                from[i] = row == rows.old - 1 ? last : in + row * old_bytes;
                to[i] = between + row * bytes;
            }
            across(from, to, columns);
        }
        down(between, out, rows, bytes, sums);
    }
    free(between);
    free(last);
    free(sums);
    return fits;
}

static int is_sound(const Axis *axis) {
    for (Py_ssize_t i = 0; i < axis->new; i++)
        if (axis->first[i] < 0 || axis->count[i] < 1 || axis->count[i] > axis->taps ||
            axis->first[i] > axis->old - axis->count[i])
            return 0;
    return 1;
}

#define BUFFERS 8 /* in, out, and first, count, weights of either axis */
#define MOST 65535

static PyObject *py_resize(PyObject *module, PyObject *args) {
    PyObject *objects[BUFFERS];
    Py_buffer buffers[BUFFERS];
    Py_ssize_t height, width, new_height, new_width, taps_x, taps_y;
    int held = 0, ok = 0, fits = 1;
    if (!PyArg_ParseTuple(args, "OO(nn)(nn)(OOOn)(OOOn)", &objects[0], &objects[1], &height, &width, &new_height,
                          &new_width, &objects[2], &objects[3], &objects[4], &taps_x, &objects[5], &objects[6],
                          &objects[7], &taps_y))
        return NULL;
    if (height < 1 || width < 1 || new_height < 1 || new_width < 1 || height > MOST || width > MOST ||
        new_height > MOST || new_width > MOST || taps_x < 1 || taps_x > MOST || taps_y < 1 || taps_y > MOST) {
        PyErr_SetString(PyExc_ValueError, "sizes are out of bounds");
        return NULL;
    }
    const Py_ssize_t wanted[BUFFERS] = {
        3 * height * width, 3 * new_height * new_width,     4 * new_width,  4 * new_width,
        4 * new_width * taps_x,     4 * new_height, 4 * new_height, 4 * new_height * taps_y,
    };
    for (; held < BUFFERS; held++) {
        if (PyObject_GetBuffer(objects[held], &buffers[held], held == 1 ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
            break;
        if (buffers[held].len != wanted[held]) {
            PyErr_SetString(PyExc_ValueError, "a buffer is not of the size that the others ask for");
            held++;
            break;
        }
    }
    if (held == BUFFERS && !PyErr_Occurred()) {
        const Axis columns = {buffers[2].buf, buffers[3].buf, buffers[4].buf, width, new_width, taps_x};
        const Axis rows = {buffers[5].buf, buffers[6].buf, buffers[7].buf, height, new_height, taps_y};
        ok = is_sound(&columns) && is_sound(&rows);
        if (ok) {
            Py_BEGIN_ALLOW_THREADS
            fits = resize(buffers[0].buf, buffers[1].buf, columns, rows);
            Py_END_ALLOW_THREADS
        } else
            PyErr_SetString(PyExc_ValueError, "a coefficient lies outside the picture");
    }
    while (held > 0)
        PyBuffer_Release(&buffers[--held]);
    if (!fits)
        return PyErr_NoMemory();
    if (!ok)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"resize", py_resize, METH_VARARGS, "resize(in, out, (h, w), (new h, new w), columns, rows): see resample.py"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_resample", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__resample(void) { return PyModule_Create(&definition); }
