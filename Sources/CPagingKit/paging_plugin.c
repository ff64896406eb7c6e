/* The header compiles alone. */
#include "paging_plugin.h"
