"""Sparse decomposition: which few words add up to an embedding (SpLiCE)?"""
