/* Encoders whose folders `ragd model import` takes as they are. Licences as their authors state them. */
#include "cli/model_int.h"

#include <stddef.h>

const struct model_known model_catalogue[] = {
    {"multilingual-e5-small", "intfloat/multilingual-e5-small", "MIT", "100, Chinese and English among them", 384, 12},
    {"multilingual-e5-base", "intfloat/multilingual-e5-base", "MIT", "100, Chinese and English among them", 768, 12},
    {"bge-small-zh-v1.5", "BAAI/bge-small-zh-v1.5", "MIT", "Chinese", 512, 4},
    {"bge-base-zh-v1.5", "BAAI/bge-base-zh-v1.5", "MIT", "Chinese", 768, 12},
    {"bge-small-en-v1.5", "BAAI/bge-small-en-v1.5", "MIT", "English", 384, 12},
    {"e5-small-v2", "intfloat/e5-small-v2", "MIT", "English", 384, 12},
    {"all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2", "Apache-2.0", "English", 384, 6},
    {"paraphrase-multilingual-MiniLM-L12-v2", "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
     "Apache-2.0", "50, Chinese and English among them", 384, 12},
    {NULL, NULL, NULL, NULL, 0, 0},
};
