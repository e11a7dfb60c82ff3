"""How are the tables, lists and reports of an archive read?"""
