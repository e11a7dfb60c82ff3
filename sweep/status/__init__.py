"""How far is a study, from its storage alone?"""
