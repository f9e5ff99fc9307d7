"""nano: the small dual encoder that this project trains itself and ships, so that the package needs no download."""
